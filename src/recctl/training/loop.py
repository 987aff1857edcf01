"""The training loop: every step a pure function of (weights, params, data, position)."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recctl.devices import autocast_dtype, prepare, seed
from recctl.errors import UserError
from recctl.models import NEURAL
from recctl.models.base import Recommender
from recctl.models.encoder import SequenceEncoder
from recctl.sequences.batching import Batch, Plan, Sizes, plan_epoch, plan_windows
from recctl.sequences.cloze import cloze_batch
from recctl.sequences.next_item import next_item_batch
from recctl.sequences.store import Histories
from recctl.training import cooccurrence, graphs
from recctl.training.averaging import Average
from recctl.training.checkpoint import Checkpoint
from recctl.training.distributed import World
from recctl.training.loss import training_loss
from recctl.training.optimiser import Optimiser
from recctl.training.params import Bert4RecParams, SasRecParams, TrainParams
from recctl.training.progress import Epoch, TrainingProgress
from recctl.training.schedule import learning_rate

Validate = Callable[[Recommender], float]
"""Full-ranking NDCG@10 on the validation cases."""


@dataclass
class Position:
    """The progress of a training; with weights and optimiser, its whole state."""

    epoch: int = 1
    batch: int = 0
    """Batches of this epoch already trained."""
    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    windows: int = 0
    """Windows trained so far."""
    seconds: float = 0.0
    """Of training so far, without validations."""
    best_epoch: int = 0
    best_ndcg: float = -1.0
    validations_since_best: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Fit:
    """A finished training."""

    model: Recommender
    best_ndcg: float
    """Full-ranking NDCG@10 on the validation cases."""
    curve: list[Epoch] = field(default_factory=list)
    """Empty for a model that is not trained in epochs."""
    best_epoch: int = 0
    seconds: float = 0.0
    """Of all steps, without validations, including those of interrupted processes."""
    sequences_per_second: float = 0.0
    """Windows trained per second, with extra samples and without validations."""
    capped: bool = False
    """The best epoch was the last one allowed: more epochs might have been better."""


class Trainer:
    """Trains an encoder, resuming from a checkpoint.

    All randomness of a step comes from a generator seeded by (seed, epoch, batch), and the epoch's
    plan from (seed, epoch): a training that was killed and resumed draws the same numbers as an
    uninterrupted one, and on a CPU with the same number of threads ends with the same weights.

    In a `world` of several processes each trains on its share of every batch, and all have the same
    weights after each step; the position counts whole batches, whatever the number of processes.
    """

    def __init__(
        self,
        train: Histories,
        n_items: int,
        params: TrainParams,
        device: torch.device,
        world: World | None = None,
    ) -> None:
        prepare(device)
        self.world = world or World()
        self.params, self.device, self.train = params, device, train
        self.position = Position()
        self.encoder = _build(train, n_items, params).to(device)
        self.best: dict[str, Tensor] = {}
        # NCCL cannot add up sparse gradients
        dense = params.loss == "full" or (self.world.size > 1 and device.type == "cuda")
        self._optimiser = Optimiser(
            self.encoder,
            decay=params.weight_decay,
            clip_norm=params.clip_norm,
            lazy=not dense,
        )
        self._forward = self.world.wrap(self.encoder)
        if params.compile:
            self._forward = torch.compile(self._forward, dynamic=True)  # type: ignore[assignment]
        self._average = (
            Average(self.encoder, params.average_epochs) if params.average_epochs else None
        )
        self._generator = torch.Generator(device)
        self._on_host = torch.Generator()
        """Draws negatives on the CPU, so that they are the same for every device."""
        self._items = torch.from_numpy(np.array(train.items)).to(device)
        self._dtype = autocast_dtype(params.precision)
        self._graphs: graphs.Graphs | None = None
        if graphs.usable(params, self.encoder, self.world, device):
            self.replay_steps(graphs.Cuda(device, self._generator))

    def replay_steps(self, recorder: graphs.Recorder) -> None:
        """Train batches of rounded sizes, with steps that are captured and replayed."""
        rows = min(self.params.batch_size, len(self.plan(1).lengths))
        self._graphs = graphs.Graphs(self._whole_step, rows, self.device, recorder)

    def run(
        self,
        validate: Validate,
        checkpoint: Checkpoint,
        show: TrainingProgress,
        on_epoch: Callable[[Epoch], None] = lambda row: None,
    ) -> Fit:
        """Train until `patience` validations brought no better one, or for max_epochs.

        `on_epoch` is called with each epoch that this process finishes. Raises UserError when the
        loss is no longer finite, or the checkpoint is damaged.
        """
        self._resume(checkpoint, show)
        if self._graphs is not None:
            self._graphs.say = show.say
        while not self._finished():
            row = self._epoch(validate, checkpoint, show)
            self._next_epoch(row)
            rate = self.position.windows / max(self.position.seconds, 1e-9)
            best = (self.position.best_epoch, self.position.best_ndcg)
            show.epoch(row, best, rate, last=self._finished())
            on_epoch(row)
            if self._due(checkpoint) or (self.world.leads and self._finished()):
                checkpoint.save(self._state())
        return self._fit()

    def _epoch(self, validate: Validate, checkpoint: Checkpoint, show: TrainingProgress) -> Epoch:
        here, params = self.position, self.params
        plan = self.plan(here.epoch)
        rows = on_device(plan, self.device)
        losses: list[Tensor] = []
        began = time.monotonic()
        while here.batch < len(plan):
            losses.append(self.train_batch(plan, rows))
            show.step(here.batch, len(plan), here.epoch)
            if self._due(checkpoint):
                began = self._count(losses, began)
                checkpoint.save(self._state())
        self._count(losses, began)
        loss = here.loss_sum / here.loss_count
        rate = self._rate(len(plan), here.step - 1)
        wanted = here.epoch % params.validate_every == 0 or here.epoch == params.max_epochs
        ndcg = self._validate(validate) if wanted else None
        return Epoch(here.epoch, loss, rate, ndcg)

    def _due(self, checkpoint: Checkpoint) -> bool:
        return self.world.leads and checkpoint.due()

    def train_batch(self, plan: Plan, rows: tuple[Tensor, ...]) -> Tensor:
        """Train the plan's next batch; its loss, on the device."""
        here = self.position
        loss = self._step(plan, rows, self._rate(len(plan), here.step))
        here.windows += int(plan.bounds[here.batch + 1] - plan.bounds[here.batch])
        here.batch += 1
        here.step += 1
        if self._average is not None:
            self._average.after(here.batch, len(plan), self.encoder)
        return loss

    @property
    def judged(self) -> SequenceEncoder:
        """The network that is validated and saved: averaged weights, or those of the last step."""
        return self.encoder if self._average is None else self._average.encoder

    def plan(self, epoch: int) -> Plan:
        """The windows and batches of an epoch."""
        params, rng = self.params, np.random.default_rng([self.params.seed, epoch])
        network = params.network()
        length, size = network.max_length, params.batch_size
        if self.encoder.causal:
            return plan_windows(self.train, rng, max_length=length, batch_size=size)
        assert isinstance(network, Bert4RecParams)
        return plan_epoch(
            self.train,
            rng,
            max_length=length,
            batch_size=size,
            mask_probability=network.mask_probability,
            last_item_share=network.last_item_share,
        )

    def _rate(self, batches: int, step: int) -> float:
        params = self.params
        epochs = params.decays_until
        return learning_rate(
            step,
            peak=params.learning_rate,
            warmup=params.warmup_steps,
            decay_steps=epochs * batches,
        )

    def _seed_step(self) -> None:
        here = self.position
        step = [self.params.seed, here.epoch, here.batch]
        self._on_host.manual_seed(_number(step))
        number = _number([*step, self.world.rank] if self.world.rank else step)
        self._generator.manual_seed(number)
        seed(self.device, number)  # torch's own dropout uses no other generator

    def _step(self, plan: Plan, rows: tuple[Tensor, ...], rate: float) -> Tensor:
        self._seed_step()
        begin, end = plan.bounds[self.position.batch : self.position.batch + 2].tolist()
        if self._graphs is not None:
            here, network = slice(begin, end), self.params.network()
            masked = network.mask_probability if isinstance(network, Bert4RecParams) else 1.0
            sizes = plan.sizes(here).rounded(self._graphs.rows, network.max_length, masked)
            return self._graphs(sizes, [one[here] for one in rows], rate)
        share = self.world.share(begin, end)
        total = plan.masked[begin:end].sum() / self.world.size
        # with fewer rows than ranks, the last ranks train on a row of weight zero
        parts = [
            (part, float(plan.masked[part].sum() / total))
            for part in plan.parts(share, self.device.type)
        ] or [(slice(begin, begin + 1), 0.0)]
        losses = [
            self._loss(tuple(one[part] for one in rows), plan.sizes(part)) * weight
            for part, weight in parts
        ]
        loss = torch.stack(losses).sum()
        self._optimiser.step(loss, rate)
        return self.world.mean(loss.detach())

    def _whole_step(self, sizes: Sizes, rows: tuple[Tensor, ...], rate: Tensor) -> Tensor:
        """The step on a batch of rounded sizes."""
        loss = self._loss(rows, sizes)
        self._optimiser.step(loss, rate)
        return loss.detach()

    def _loss(self, rows: tuple[Tensor, ...], sizes: Sizes) -> Tensor:
        """The mean loss of the targets in some rows."""
        batch = self._gathered(rows, sizes)
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            hidden = self._forward(batch.tokens, batch.real, batch.at, self._generator)
        # the gradient of plain indexing sorts the indices first, on a GPU in several launches
        chosen = hidden.flatten(0, 1).index_select(0, batch.chosen)
        return training_loss(self.encoder, self.params, chosen, batch, self._on_host)

    def _gathered(self, rows: tuple[Tensor, ...], sizes: Sizes) -> Batch:
        starts, lengths, masked, last_only = rows
        if self.encoder.causal:
            network = self.params.network()
            return next_item_batch(
                self._items,
                starts,
                lengths,
                sizes=sizes,
                pad=self.encoder.pad,
                first=self.encoder.special,
                item_dropout=network.item_dropout if isinstance(network, SasRecParams) else 0.0,
                generator=self._generator,
            )
        return cloze_batch(
            self._items,
            starts,
            lengths,
            masked,
            last_only,
            sizes=sizes,
            pad=self.encoder.pad,
            mask=self.encoder.special,
            generator=self._generator,
        )

    def _count(self, losses: list[Tensor], began: float) -> float:
        """Add the losses that are still on the device, and the time since `began`; returns now.

        Reading each loss immediately would stall a GPU. Raises UserError when one is not finite,
        before a checkpoint is written.
        """
        here = self.position
        for loss in torch.stack(losses).tolist() if losses else []:
            here.loss_sum += loss
            here.loss_count += 1
        losses.clear()
        if not math.isfinite(here.loss_sum):
            raise self._diverged("the training loss is")
        now = time.monotonic()
        here.seconds += now - began
        return now

    def _validate(self, validate: Validate) -> float:
        model, here = NEURAL[self.params.model](self.judged), self.position
        ndcg = validate(model)
        # a loss is computed before its step, so that the effect of the last step shows only here
        scores = model.score(self.train.select(slice(1)))
        if not all(bool(one.isfinite().all()) for one in (scores, *self.judged.parameters())):
            raise self._diverged("the model's scores or weights are")
        here.validations_since_best += 1
        if ndcg > here.best_ndcg:
            here.best_ndcg, here.best_epoch, here.validations_since_best = ndcg, here.epoch, 0
            self.best = {
                name: tensor.detach().clone() for name, tensor in self.judged.state_dict().items()
            }
        return ndcg

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"{what} not finite in epoch {self.position.epoch}",
            "lower train.learning_rate in params.yaml",
        )

    def _next_epoch(self, row: Epoch) -> None:
        here = self.position
        here.curve.append(asdict(row))
        here.epoch, here.batch, here.loss_sum, here.loss_count = here.epoch + 1, 0, 0.0, 0

    def _finished(self) -> bool:
        here, params = self.position, self.params
        return here.epoch > params.max_epochs or here.validations_since_best >= params.patience

    def _state(self) -> dict[str, Any]:
        return {
            "position": asdict(self.position),
            "weights": self.encoder.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "average": {} if self._average is None else self._average.state_dict(),
            "best": self.best,
        }

    def _resume(self, checkpoint: Checkpoint, show: TrainingProgress) -> None:
        for path in checkpoint.aside()[:1] if self.world.leads else []:  # deletes old ones
            show.say(f"train: not used, since params, data or code differ: checkpoint {path}")
        state = checkpoint.load()
        if state is None:
            return
        self.position = Position(**state["position"])
        self.encoder.load_state_dict(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.best = {name: tensor.to(self.device) for name, tensor in state["best"].items()}
        here = self.position
        done = f"resumed in epoch {here.epoch} after {here.batch} batches"
        if self._finished():
            done = "this training was already finished; nothing is left to train"
        show.say(f"train: {done}, from {checkpoint.path}")

    def _fit(self) -> Fit:
        here = self.position
        self.encoder.load_state_dict(self.best)
        return Fit(
            model=NEURAL[self.params.model](self.encoder),
            curve=[Epoch(**row) for row in here.curve],
            best_epoch=here.best_epoch,
            best_ndcg=here.best_ndcg,
            seconds=here.seconds,
            sequences_per_second=here.windows / max(here.seconds, 1e-9),
            capped=here.best_epoch == self.params.max_epochs,
        )


def _build(train: Histories, n_items: int, params: TrainParams) -> SequenceEncoder:
    encoder = NEURAL[params.model].build(n_items, params.network())
    encoder.initialise(torch.Generator().manual_seed(params.seed))
    if params.item_vectors == "cooccurrence" and params.loss != "gbce":
        cooccurrence.begin(encoder, train)
    return encoder


def _number(words: list[int]) -> int:
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


def on_device(plan: Plan, device: torch.device) -> tuple[Tensor, ...]:
    """A plan's rows as tensors, sent once per epoch."""
    arrays = (plan.starts, plan.lengths, plan.masked, plan.last_only)
    return tuple(torch.from_numpy(one).to(device) for one in arrays)
