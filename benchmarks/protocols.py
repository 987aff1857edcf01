"""NDCG@10 of some models by each protocol and kind of targets, and over rolling cuts.

    python benchmarks/protocols.py PROJECT [--models item-knn markov sasrec]
        [--windows 4 [--targets successive]] [--refit] [--set train.max_epochs=5] [--json FILE]

PROJECT is a folder where `dvc repro ingest` has run on a log with real times; its params.yaml has
the settings. A window is cut where its last `test_share` of the interactions begins; the
last window ends with the log, each earlier one where the next begins, and what comes after its end
is left out. With `--refit` a model that was validated is trained again, for as many epochs as were
best, on everything before the test cut. Intervals are over users; the spread over windows is a
standard deviation.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from recctl import devices
from recctl.evaluation.metrics import per_case
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.statistics import Interval, interval
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models.base import Recommender
from recctl.models.popularity import RecentPopularity
from recctl.render.console import Console as Quiet
from recctl.render.numbers import figure
from recctl.sequences import split as splitting
from recctl.sequences.encode import encode
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.store import SequenceData
from recctl.stages import sequence_split
from recctl.training.checkpoint import Checkpoint
from recctl.training.fit import fingerprint, fit
from recctl.training.launch import fit_project
from recctl.training.loop import Fit
from recctl.training.params import TrainParams
from training import train_settings

TARGETS = ("first", "last", "successive", "all")
_NOTHING = 1e-9
"""A share for validation of which no more is left than the newest interactions before the cut."""


class Measured:
    """Splits a log, trains and ranks; a training that was done is not repeated."""

    def __init__(self, layout: Layout, folder: Path, given: argparse.Namespace) -> None:
        self.folder, self.refit = folder, given.refit
        self.evaluate = EvaluateParams.load(layout.params)
        self.split = SequenceSplitParams.load(layout.params)
        self.settings = TrainParams.load(layout.params, train_settings(given.set))
        self.log = ibis.duckdb.connect().read_parquet(layout.interactions / "interactions.parquet")
        self.models: dict[tuple[Any, ...], Recommender] = {}
        self.numbers = itertools.count()

    def sequences(self, log: ir.Table, params: SequenceSplitParams) -> SequenceData:
        rows = log.order_by("user_id", "timestamp", "row").to_pyarrow().to_batches()
        made = splitting.split(encode(rows, params), params, {})
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        sequence_split.write(made, folder)
        report = {"fingerprint": made.fingerprint, "targets": params.targets}
        write_json(folder / "report.json", report)
        return SequenceData.load(folder)

    def trained(self, name: str, log: ir.Table, params: SequenceSplitParams) -> Recommender:
        """A model that has the catalogue of the data that `ranked` uses."""
        data = self.sequences(log, params)
        train = self.settings.model_copy(update={"model": name}).ranked(self.evaluate.filter_seen)
        validation = np.asarray(data.validation).tobytes()
        key = (name, data.vocabulary.items, validation)  # targets of the test set do not matter
        if key not in self.models:
            mark = fingerprint(train, data.fingerprint, self.evaluate.filter_seen)
            checkpoint = Checkpoint(self.folder, mark)
            done = fit_project(
                data, train, self.evaluate.filter_seen, checkpoint, console=Quiet(quiet=True)
            )
            self.models[key] = done.model
            if self.refit and params.protocol == "global-time":
                self.models[key] = self.again(done, train, log, params)
        return self.models[key]

    def again(
        self, done: Fit, train: TrainParams, log: ir.Table, params: SequenceSplitParams
    ) -> Recommender:
        """The same training on everything before the test cut, without a validation to stop by."""
        data = self.sequences(log, params.model_copy(update={"validation_share": _NOTHING}))
        if isinstance(done.model, RecentPopularity) and done.model.half_life_days:
            days = done.model.half_life_days
            return RecentPopularity.fit(data.train(), data.vocabulary.size, days)
        longer = train.model_copy(update={"max_epochs": max(done.best_epoch, 1)})
        rising = itertools.count()
        return fit(
            data.train(),
            data.vocabulary.size,
            longer,
            devices.pick(train.device),
            validate=lambda model: float(next(rising)),  # the last epoch is the best
            checkpoint=Checkpoint(self.folder, f"again-{next(self.numbers)}"),
            console=Quiet(quiet=True),
        ).model

    def ranked(
        self, name: str, log: ir.Table, params: SequenceSplitParams
    ) -> tuple[Interval, int, int]:
        """NDCG@10 over users, users and targets."""
        model = self.trained(name, log, params)
        shares = {"validation_share": _NOTHING}
        again = self.refit and params.protocol == "global-time"
        data = self.sequences(log, params.model_copy(update=shares) if again else params)
        cases = data.cases("test")
        ranks = rank_cases(model, cases, filter_seen=self.evaluate.filter_seen).full
        gains = cases.per_user(per_case("ndcg@10", ranks, data.vocabulary.size))
        rng = np.random.default_rng(self.evaluate.seed)
        found = interval(gains, self.evaluate.bootstrap_resamples, rng)
        return found, cases.n_users, len(cases)


def by_protocol(measured: Measured, models: list[str]) -> list[dict[str, Any]]:
    rows = []
    kinds = [("leave-one-out", "first"), *(("global-time", kind) for kind in TARGETS)]
    for protocol, kind in kinds:
        changes: dict[str, Any] = {"protocol": protocol, "targets": kind}
        if protocol == "leave-one-out":
            changes["test_from"] = None
        params = measured.split.model_copy(update=changes)
        row: dict[str, Any] = {"protocol": protocol, "targets": kind, "ndcg@10": {}}
        for name in models:
            found, row["users"], row["cases"] = measured.ranked(name, measured.log, params)
            row["ndcg@10"][name] = vars(found)
        rows.append(row)
    return rows


def by_window(
    measured: Measured, models: list[str], windows: int, targets: str
) -> list[dict[str, Any]]:
    """Rolling cuts, the oldest first."""
    times = np.sort(measured.log.timestamp.to_pyarrow().cast("int64").to_numpy())
    size = int(len(times) * measured.split.test_share)
    rows = []
    for k in reversed(range(windows)):
        cut, end = (_iso(times[len(times) - at * size]) if at else None for at in (k + 1, k))
        log = measured.log
        if end is not None:
            log = log.filter(log.timestamp < ibis.timestamp(end + "+00:00"))
        changes = {"protocol": "global-time", "test_from": cut, "targets": targets}
        params = measured.split.model_copy(update=changes)
        row: dict[str, Any] = {"test_from": cut, "ndcg@10": {}}
        for name in models:
            found, row["users"], row["cases"] = measured.ranked(name, log, params)
            row["ndcg@10"][name] = vars(found)
        rows.append(row)
    return rows


def _iso(microseconds: int) -> str:
    return str(np.datetime64(int(microseconds), "us"))


def show(title: str, rows: list[dict[str, Any]], names: list[str], models: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in [*names, "users", "targets"]:
        table.add_column(name)
    for name in models:
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row["ndcg@10"][name] for name in models]
        figures = [
            f"{figure(one['value'])} {figure(one['low'], 3)}-{figure(one['high'], 3)}"
            for one in cells
        ]
        counts = [f"{row[key]:,}" for key in ("users", "cases")]
        table.add_row(*(str(row[name]) for name in names), *counts, *figures)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--models", nargs="+", default=["item-knn", "markov", "sasrec"])
    parser.add_argument("--windows", type=int, default=0, help="rolling cuts in place of protocols")
    parser.add_argument("--targets", choices=TARGETS, default="first", help="of rolling cuts")
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="train.KEY=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    layout, console = Layout(given.project.resolve()), Console(width=140)
    with tempfile.TemporaryDirectory() as folder:
        measured = Measured(layout, Path(folder), given)
        if not given.windows:
            rows = by_protocol(measured, given.models)
            console.print(show("NDCG@10", rows, ["protocol", "targets"], given.models))
        else:
            rows = by_window(measured, given.models, given.windows, given.targets)
            console.print(show("NDCG@10, rolling cuts", rows, ["test_from"], given.models))
            for name in given.models:
                values = [row["ndcg@10"][name]["value"] for row in rows]
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
                console.print(f"{name}: mean {figure(np.mean(values))}, spread {figure(spread)}")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
