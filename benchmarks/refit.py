"""What a training on all interactions, held-out ones included, brings on the days that follow.

    python benchmarks/refit.py [--log ratings.tsv] [--model bert4rec] [--days 14] [--seeds 1 2 3]

Call it in a project; its settings are used. Without `--log` the starter data is, and the days that
its generator makes next. A log has lines `user<TAB>item<TAB>...<TAB>unix seconds`; its last days
are the later ones. With each seed three models rank the later events, each event after all that
its user did before it:

- judged: trained without the targets of validation and test, as the gates judge it;
- refit: trained on everything, for as many epochs as were best for the judged one;
- continued: the judged weights, trained on everything for a tenth of these epochs more.

An item that a model does not know counts as missed.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.datasets import starter
from recctl.devices import pick
from recctl.evaluation.metrics import means
from recctl.evaluation.ranking import rank_cases
from recctl.layout import Layout
from recctl.models.base import Recommender
from recctl.render.console import Console
from recctl.sequences.encode import Log, encode
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.split import split
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import COLD
from recctl.training.checkpoint import Checkpoint
from recctl.training.loop import Fit, Trainer, Validate
from recctl.training.params import TrainParams
from recctl.training.progress import TrainingProgress

METRICS = ["hr@10", "ndcg@10"]
Row = tuple[str, str, int]


@dataclass(frozen=True)
class Data:
    """A log up to a day, in the numbers of its split, and what came later."""

    log: Log
    later: list[Row]
    numbers: NDArray[np.int32]
    """The split's number of each item of the log; then come items that only targets have."""
    known: int
    """Items of the split's vocabulary."""
    train: Histories
    validation: Cases

    @classmethod
    def of(cls, log: Log, later: list[Row], params: SequenceSplitParams) -> "Data":
        parts = split(log, params, {})
        named = {item: at for at, item in enumerate(parts.vocabulary.items)}
        numbers = np.array([named.get(item, COLD) for item in log.item_ids.to_pylist()], np.int32)
        cold = np.flatnonzero(numbers == COLD)
        numbers[cold] = np.arange(len(named), len(numbers))
        starts, ends, at = log.offsets[:-1], parts.positions.train_end, parts.positions.validation
        kept, users = ends > starts, np.flatnonzero(at >= 0)
        histories = Histories(parts.items, starts[users], at[users]).without_cold()
        return cls(
            log,
            later,
            numbers,
            len(named),
            Histories(parts.items, starts[kept], ends[kept]),
            Cases(users, histories, parts.items[at[users]]),
        )

    def everything(self) -> Histories:
        """Every interaction of the log."""
        return Histories(self.numbers[self.log.items], self.log.offsets[:-1], self.log.offsets[1:])

    def validate(self, model: Recommender) -> float:
        ranks = rank_cases(model, self.validation).full
        return means(METRICS[1:], ranks, model.n_items)[METRICS[1]]

    def figures(self, model: Recommender) -> list[float]:
        """HR@10 and NDCG@10 of later events, and the share of those with an unknown item."""
        numbers = dict(zip(self.log.item_ids.to_pylist(), self.numbers.tolist(), strict=True))
        known = {item: at for item, at in numbers.items() if at < model.n_items}
        users = zip(
            self.log.user_ids.to_pylist(), self.log.offsets, self.log.offsets[1:], strict=False
        )
        whole = self.numbers[self.log.items]
        seen = {
            user: [at for at in whole[a:b].tolist() if at < model.n_items] for user, a, b in users
        }
        histories, targets = [], []
        for user, item, _ in self.later:
            before, target = seen.setdefault(user, []), known.get(item, COLD)
            if before and target not in before:  # a repeat is filtered out
                histories.append(list(before))
                targets.append(target)
            if target != COLD:
                before.append(target)
        cases = Cases(np.arange(len(targets)), Histories.of(histories), np.array(targets, np.int32))
        found = means(METRICS, rank_cases(model, cases).full, model.n_items)
        return [*found.values(), float(np.mean(cases.targets == COLD))]


def fit(
    train: Histories,
    n_items: int,
    params: TrainParams,
    validate: Validate = lambda model: 0.0,
    begin: Callable[[Trainer], None] = lambda trainer: None,
) -> Fit:
    trainer = Trainer(train, n_items, params, pick(params.device))
    begin(trainer)
    with (
        tempfile.TemporaryDirectory() as folder,
        TrainingProgress(params.max_epochs, Console(quiet=True)) as show,
    ):
        return trainer.run(validate, Checkpoint(Path(folder), "benchmark"), show)


def models(data: Data, params: TrainParams) -> Iterator[tuple[str, Recommender]]:
    """The three models, each when it is trained."""
    judged = fit(data.train, data.known, params, data.validate)
    yield "judged", judged.model

    def until(epochs: int, **changed: float) -> TrainParams:
        """The same schedule, ended after some epochs."""
        decay = params.decay_epochs or max(1, params.max_epochs * 2 // 3)
        update = {"max_epochs": epochs, "validate_every": epochs, "decay_epochs": decay, **changed}
        return params.model_copy(update=update)

    everything, n_items = data.everything(), len(data.numbers)
    yield "refit", fit(everything, n_items, until(judged.best_epoch)).model

    def begin(trainer: Trainer) -> None:
        """Take the judged weights; new items keep the vectors that they begin with."""
        weights = judged.model.tensors()
        for name, tensor in trainer.encoder.state_dict().items():
            known = weights[name]
            if known.shape == tensor.shape:
                tensor.copy_(known)
            else:  # a row for each item, then some for special tokens
                special = len(known) - data.known
                tensor[: data.known] = known[: data.known]
                tensor[len(tensor) - special :] = known[data.known :]

    rate = judged.curve[judged.best_epoch - 1].learning_rate
    more = until(
        max(1, judged.best_epoch // 10), learning_rate=rate, warmup_steps=0, decay_epochs=10**4
    )
    yield "continued", fit(everything, n_items, more, begin=begin).model


def encoded(rows: list[Row], params: SequenceSplitParams) -> Log:
    users, items, times = zip(*rows, strict=True)
    table = pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "timestamp": pa.array([one * 10**6 for one in times], pa.timestamp("us", "UTC")),
            "row": pa.array(range(len(rows)), pa.int64()),
        }
    )
    order = [(name, "ascending") for name in ("user_id", "timestamp", "row")]
    return encode(table.sort_by(order).to_batches(), params)


def of_starter(days: int) -> tuple[list[Row], int]:
    made = starter.following_days(first_day=0, days=starter.DAYS + days)
    rows = [(str(one.user_id), str(one.item_id), one.timestamp) for one in made.interactions]
    return rows, starter.FIRST_DAY + starter.DAYS * starter.SECONDS_A_DAY


def of_file(path: Path, days: int) -> tuple[list[Row], int]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(row[0], row[1], int(row[-1])) for row in csv.reader(file, delimiter="\t")]
    return rows, max(row[2] for row in rows) - days * starter.SECONDS_A_DAY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path)
    parser.add_argument("--model", default="bert4rec")
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    rows, since = of_file(given.log, given.days) if given.log else of_starter(given.days)
    rows.sort(key=lambda row: row[2])
    layout = Layout.find()
    splitting, train = SequenceSplitParams.load(layout.params), TrainParams.load(layout.params)
    log = encoded([row for row in rows if row[2] < since], splitting)
    data = Data.of(log, [row for row in rows if row[2] >= since], splitting)
    print(f"{len(log.items):,} interactions, then {len(data.later):,} in {given.days} days")
    found: dict[str, list[list[float]]] = {}
    for seed in given.seeds:
        params = train.model_copy(update={"model": given.model, "seed": seed}).ranked(True)
        began = time.monotonic()
        for name, model in models(data, params):
            figures = [*data.figures(model), time.monotonic() - began]
            print(f"seed {seed} {name:9}", *(f"{one:.4f}" for one in figures), flush=True)
            found.setdefault(name, []).append(figures)
            began = time.monotonic()
    print(f"\n{'mean':9}", *METRICS, "cold share", "seconds", sep="  ")
    for name, each in found.items():
        print(f"{name:9}", *(f"{one:.4f}" for one in np.mean(each, 0)), sep="  ")


if __name__ == "__main__":
    main()
