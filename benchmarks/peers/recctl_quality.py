"""recctl's models, trained as the project's params.yaml says, for some minutes at most."""

from argparse import Namespace
from typing import Any

import _quality as quality
import numpy as np
import torch
from torch import Tensor

from recctl.evaluation.params import EvaluateParams
from recctl.layout import Layout
from recctl.models import COUNTED, NEURAL
from recctl.models.base import Recommender
from recctl.render.console import Console
from recctl.sequences.batching import Plan
from recctl.sequences.store import SequenceData
from recctl.training.checkpoint import Checkpoint
from recctl.training.early_stopping import validation
from recctl.training.loop import Trainer
from recctl.training.params import TrainParams
from recctl.training.progress import TrainingProgress

Trained = tuple[Recommender, dict[str, Any]]


class Timed(Trainer):
    """Raises TimeOver instead of training a batch after the limit."""

    clock: quality.Clock

    def train_batch(self, plan: Plan, rows: tuple[Tensor, ...]) -> Tensor:
        if self.clock.over:
            raise quality.TimeOver
        return super().train_batch(plan, rows)


def trained(given: Namespace, data: SequenceData, layout: Layout) -> Trained:
    """The model with the best weights by validation NDCG@10, and the training's figures."""
    filter_seen = EvaluateParams.load(layout.params).filter_seen
    asked = {"model": given.model, "device": "cpu"}
    params = TrainParams.load(layout.params).model_copy(update=asked).ranked(filter_seen)
    validate = validation(data, filter_seen)
    clock = quality.Clock(given.minutes)
    if given.model in COUNTED:
        model = COUNTED[given.model].fit(data.train(), data.vocabulary.size)
        return model, {"minutes": clock.spent, "epochs": None, "validation": validate(model)}
    trainer = Timed(data.train(), data.vocabulary.size, params, torch.device("cpu"))
    trainer.clock, here = clock, trainer.position
    checkpoint = Checkpoint(given.folder / "checkpoints", "0" * 64)
    show = TrainingProgress(params.max_epochs, Console(stderr=True))
    try:
        trainer.run(validate, checkpoint, show)
    except quality.TimeOver:
        ndcg = validate(NEURAL[given.model](trainer.judged))
        if ndcg > here.best_ndcg:
            here.best_ndcg, here.best_epoch = ndcg, here.epoch
            trainer.best = trainer.judged.state_dict()
    trainer.encoder.load_state_dict(trainer.best)
    batches = len(trainer.plan(here.epoch))
    return NEURAL[given.model](trainer.encoder), {
        "minutes": clock.spent,
        "epochs": here.epoch - 1 + here.batch / batches,
        "best_epoch": here.best_epoch,
        "validation": here.best_ndcg,
    }


def main() -> None:
    given = quality.settings()
    layout = Layout(given.project)
    data = SequenceData.load(layout.sequences)
    model, figures = trained(given, data, layout)
    cases = data.cases("test")
    written = quality.scores(given.folder, len(data.user_ids), data.vocabulary.size)
    with torch.inference_mode():
        for block in quality.blocks(len(cases)):
            users = np.arange(block.start, block.stop)
            written[cases.users[users]] = model.score(cases.histories.select(users)).numpy()
    figures["validation"] = f"NDCG@10 {figures['validation']:.4f}"
    quality.report(given, "recctl", **figures)


if __name__ == "__main__":
    main()
