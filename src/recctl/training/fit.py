"""Fits any model to training sequences, as the params say."""

import contextlib
from collections.abc import Callable, Iterator

import torch

from recctl.errors import UserError, unknown_name
from recctl.models import COUNTED, MODELS, NEURAL
from recctl.models.base import Counted
from recctl.models.blend import Blend
from recctl.models.popularity import RecentPopularity
from recctl.render.console import Console
from recctl.sequences.store import Histories
from recctl.training.checkpoint import Checkpoint, training_fingerprint
from recctl.training.distributed import World
from recctl.training.loop import Fit, Trainer, Validate
from recctl.training.params import TrainParams
from recctl.training.progress import Epoch, TrainingProgress

_NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""The message of torch's plain RuntimeError on a CPU."""


def check_model(name: str) -> None:
    """Raise UserError unless the table of models has the name."""
    if name not in MODELS:
        raise unknown_name("model", name, list(MODELS))


def fingerprint(params: TrainParams, split: str, filter_seen: bool) -> str:
    """The sha256 of what a training depends on: params (without device, processes and the sections
    of other models), the split's fingerprint, the seen filter of its validations, our code."""
    others = {*NEURAL, Blend.kind} - {params.model, params.of_network().model}
    return training_fingerprint(
        params.model_dump_json(exclude={"device", "processes", *others}),
        split,
        f"filter_seen={filter_seen}",
    )


def fit(
    train: Histories,
    n_items: int,
    params: TrainParams,
    device: torch.device,
    *,
    validate: Validate,
    checkpoint: Checkpoint,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
    console: Console | None = None,
    world: World | None = None,
) -> Fit:
    """Train the model that `params.model` names, alone or with the other ranks of a `world`.

    Of a blend that is the network.

    Raises UserError for an unknown model, no sequence to train on, a damaged checkpoint, weights or
    a loss that are not finite, and a device without enough memory.
    """
    check_model(params.model)
    params = params.of_network()
    if not len(train):
        raise UserError("there is no training sequence", "see artifacts/sequences/report.json")
    if params.model in COUNTED:
        if params.model == RecentPopularity.kind:
            model: Counted = RecentPopularity.best(train, n_items, validate)
        else:
            model = COUNTED[params.model].fit(train, n_items)
        return Fit(model, validate(model))
    with _memory_errors(device), TrainingProgress(params.max_epochs, console) as show:
        trainer = Trainer(train, n_items, params, device, world)
        return trainer.run(validate, checkpoint, show, on_epoch)


@contextlib.contextmanager
def _memory_errors(device: torch.device) -> Iterator[None]:
    """Turn torch's out-of-memory errors into one that says what to lower."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and _NO_MEMORY not in str(error):
            raise
        raise UserError(
            f"the training needs more memory than {device} has",
            "lower train.batch_size in params.yaml, or the network's size and length",
        ) from None
