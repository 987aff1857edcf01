"""The validation figure that early stopping uses."""

import numpy as np

from recctl.errors import UserError
from recctl.evaluation.metrics import means
from recctl.evaluation.ranking import rank_cases
from recctl.models.base import Recommender
from recctl.sequences.store import Cases, SequenceData
from recctl.training.distributed import World
from recctl.training.loop import Validate

_METRIC = "ndcg@10"


def validation_cases(data: SequenceData) -> Cases:
    """The validation cases, or a sample of 10,000; UserError where there is none."""
    cases = data.validation_sample()
    if not len(cases):
        raise UserError("the split has no validation target", "see artifacts/sequences/report.json")
    return cases


def validation(data: SequenceData, filter_seen: bool, world: World | None = None) -> Validate:
    """NDCG@10 on the validation cases, or on a sample of 10,000, ranked as evaluation does.

    In a `world` of several processes each ranks its share; the figure is the same.
    """
    world = world or World()
    cases = validation_cases(data)
    cases = cases.select(np.arange(len(cases))[world.share(0, len(cases))])

    def validate(model: Recommender) -> float:
        ranks = rank_cases(model, cases, filter_seen=filter_seen).full
        every = np.concatenate(world.gather(ranks))
        return means([_METRIC], every, model.n_items)[_METRIC]

    return validate
