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

from recctl.datasets import starter
from recctl.devices import pick
from recctl.evaluation.metrics import means
from recctl.evaluation.ranking import rank_cases
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models.base import Recommender
from recctl.render.console import Console
from recctl.sequences.encode import Log, encode
from recctl.sequences.everything import everything
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.split import split
from recctl.sequences.store import Cases, Histories, SequenceData
from recctl.sequences.vocabulary import COLD
from recctl.stages import sequence_split
from recctl.training.checkpoint import Checkpoint
from recctl.training.early_stopping import validation
from recctl.training.loop import Fit, Trainer, Validate
from recctl.training.params import TrainParams
from recctl.training.progress import TrainingProgress

METRICS = ["hr@10", "ndcg@10"]
Row = tuple[str, str, int]


@dataclass(frozen=True)
class Data:
    """A log up to a day, as its split has it, and what came later."""

    split: SequenceData
    everything: SequenceData
    """The same with every interaction in training; cold items have numbers, too."""
    later: list[Row]

    @classmethod
    def of(cls, log: Log, later: list[Row], params: SequenceSplitParams, folder: Path) -> "Data":
        made, whole = split(log, params, {}), folder / "everything"
        sequence_split.write(made, folder)
        write_json(folder / "report.json", {"fingerprint": made.fingerprint})
        whole.mkdir()
        data = SequenceData.load(folder)
        return cls(data, everything(data, whole), later)

    def figures(self, model: Recommender) -> list[float]:
        """HR@10 and NDCG@10 of later events, and the share of those with an unknown item."""
        known = {
            item: at for item, at in self.everything.vocabulary.index.items() if at < model.n_items
        }
        whole, every = self.everything.user_ids, self.everything.train()
        seen = {
            user: [at for at in every[row].tolist() if at < model.n_items]
            for row, user in enumerate(whole)
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
    known = data.split.vocabulary.size
    judged = fit(data.split.train(), known, params, validation(data.split, filter_seen=True))
    yield "judged", judged.model

    def until(epochs: int, **changed: float) -> TrainParams:
        """The same schedule, ended after some epochs."""
        update = {
            "max_epochs": epochs,
            "validate_every": epochs,
            "decay_epochs": params.decays_until,
            **changed,
        }
        return params.model_copy(update=update)

    whole, n_items = data.everything.train(), data.everything.vocabulary.size
    yield "refit", fit(whole, n_items, until(judged.best_epoch)).model

    def begin(trainer: Trainer) -> None:
        """Take the judged weights; new items keep the vectors that they begin with."""
        weights = judged.model.tensors()
        for name, tensor in trainer.encoder.state_dict().items():
            before = weights[name]
            if before.shape == tensor.shape:
                tensor.copy_(before)
            else:  # a row for each item, then some for special tokens
                special = len(before) - known
                tensor[:known] = before[:known]
                tensor[len(tensor) - special :] = before[known:]

    rate = judged.curve[judged.best_epoch - 1].learning_rate
    more = until(
        max(1, judged.best_epoch // 10), learning_rate=rate, warmup_steps=0, decay_epochs=10**4
    )
    yield "continued", fit(whole, n_items, more, begin=begin).model


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
        lines = [row for row in csv.reader(file, delimiter="\t") if row]
    header = not lines[0][-1].isdigit()
    rows = [(row[0], row[1], int(row[-1])) for row in lines[header:]]
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
    later = [row for row in rows if row[2] >= since]
    print(f"{len(log.items):,} interactions, then {len(later):,} in {given.days} days")
    found: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Data.of(log, later, splitting, Path(folder))
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
