"""What a notebook needs of a project: figures, models and decisions as pandas DataFrames.

    import recctl

    project = recctl.Project(".")
    project.metrics()
    model = project.model("champion")
    model.recommend([["12", "7"], []], k=10)
    recctl.compare(model, project.model()).to_frame()
    project.decision(12)

Nothing here changes a project. What a person can fix is raised as recctl.errors.UserError.
"""

import dataclasses
import html
import tempfile
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from recctl.errors import UserError
from recctl.evaluation.params import FULL, EvaluateParams
from recctl.files import read_json
from recctl.layout import Layout
from recctl.promotion import compare as comparing
from recctl.promotion import history
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.trial.scoring import TestSet
from recctl.promotion.view import page, plots, tables
from recctl.promotion.view.schema import HistoryRow
from recctl.recommend import Served, user_histories


class Project:
    """A project's results, read where and when they are asked for."""

    def __init__(self, path: str | Path = ".") -> None:
        """The project in a folder or above it; UserError where there is none."""
        self.layout = Layout.find(Path(path))
        warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, which MLflow imports

    def __repr__(self) -> str:
        return f"Project({str(self.layout.root)!r})"

    def metrics(self) -> pd.DataFrame:
        """The last evaluation, full ranking: a row per model, a column per metric."""
        found = read_json(self.layout.evaluation / "metrics.json", "evaluate", [FULL])
        return pd.DataFrame(found[FULL]).T.rename_axis("model")

    def ranks(self) -> pd.DataFrame:
        """The rank of every test target by every model, full ranking, with the gates' slices.

        Columns: model, user_id, item_id (None where training never saw it), rank, history_length,
        target_count, and a column per slice that names the group, None where the user is in none.
        """
        path = self.layout.evaluation / "ranks.parquet"
        table: pd.DataFrame = pq.read_table(path, filters=[("protocol", "=", FULL)]).to_pandas()
        for name, groups in self._slices().items():
            table[name] = np.tile(groups, len(table) // max(len(groups), 1))
        return table.drop(columns="protocol")

    def _slices(self) -> dict[str, Any]:
        test = TestSet.load(self.layout)
        found: dict[str, Any] = {}
        for one in test.slices():
            groups = found.setdefault(one.name, np.full(len(test.cases), None, object))
            groups[one.members] = one.group
        return found

    def model(self, name: str | int | Path = history.WORKSPACE) -> "Model":
        """The workspace's model, a version by number or alias, or a model folder.

        Raises UserError where it is not there, damaged, or not what was registered.
        """
        said, served, _ = comparing.served(self.layout, str(name))
        return Model(self, said, served)

    def decisions(self) -> pd.DataFrame:
        """The log of decisions: a row each, by number, the oldest first."""
        rows = history.decisions(history.open_registry(self.layout))
        return pd.DataFrame(map(_row, rows), columns=_COLUMNS).set_index("decision")

    def decision(self, number: int) -> "Comparison":
        """One decision of the log; UserError where there is none or it cannot be read."""
        row = history.decision(history.open_registry(self.layout), number)
        assert row.body is not None, "it was read"
        return Comparison(row.body, row)


@dataclass(frozen=True)
class Model:
    """A model that recommends."""

    project: Project
    name: str | None
    """`workspace` or a version's number; None for a folder."""
    served: Served = dataclasses.field(repr=False)

    def recommend(
        self,
        histories: "Sequence[Sequence[str]] | pd.DataFrame | None" = None,
        k: int = 10,
        *,
        users: Sequence[str] | None = None,
        exclude: Collection[str] = (),
        among: Collection[str] | None = None,
        filter_seen: bool | None = None,
    ) -> pd.DataFrame:
        """The k next items for each history, oldest item first.

        `histories` are lists of item ids, or a DataFrame of user_id and item_id (by timestamp
        where it has one, else in its order); `users` are ids of the project's data in their
        place. Items that the model does not know are left out of a history. `among` bounds what is
        recommended; `filter_seen` is by default as params.yaml evaluates.

        Columns: `history` (the list's number) or `user_id`, rank, item_id, score, and title where
        the data have titles. Raises UserError for an unknown user.
        """
        layout = self.project.layout
        if filter_seen is None:
            filter_seen = EvaluateParams.load(layout.params).filter_seen
        self.served.check(filter_seen=filter_seen)
        key, given = "user_id", _by_user(histories)
        if users is not None:
            found = user_histories(layout.sequences, [*users])
            given = {user: one.item_ids for user, one in found.items()}
        elif not isinstance(histories, pd.DataFrame):
            key = "history"
        known = [self.served.known(one)[0] for one in given.values()]
        lists = self.served.recommend_each(
            known, k, filter_seen=filter_seen, exclude=exclude, among=among
        )
        titles = self.served.vocabulary.titles
        rows = [
            {key: name, **vars(one), **({"title": titles.get(one.item_id)} if titles else {})}
            for name, best in zip(given, lists, strict=True)
            for one in best
        ]
        columns = [key, "rank", "item_id", "score", *(["title"] if titles else [])]
        return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Comparison:
    """Two models compared, as figures; a decision has a verdict too."""

    record: DecisionRecord
    row: HistoryRow | None = None

    def to_frame(self) -> pd.DataFrame:
        """The gates: a row each, with figures, interval and outcome."""
        rows = [dataclasses.asdict(gate) for gate in self.record.gates]
        return pd.DataFrame(rows).drop(columns="details", errors="ignore")

    def show(self) -> None:
        """Print the tables as the commands do."""
        if self.row is not None:
            tables.decision(self.record, self.row)
        else:
            tables.comparison(self.record)

    def _repr_html_(self) -> str:
        """The page, in a frame that keeps its style from the notebook's."""
        with tempfile.TemporaryDirectory() as name:
            picture = Path(name, "intervals.png")
            plots.intervals(self.record, picture)
            position = self.row.position if self.row else None
            text = page.html(self.record, picture.read_bytes(), position)
        style = "width: 100%; height: 50em; border: 0"
        return f'<iframe srcdoc="{html.escape(text)}" style="{style}"></iframe>'


def compare(model: Model, other: Model) -> Comparison:
    """The gates' own comparison of two models of a project on its test set, without a verdict.

    Raises UserError for a model that is only a folder: nothing says what it was trained on.
    """
    if model.name is None or other.name is None:
        raise UserError(
            "a model folder has no record of its training, so it cannot be compared",
            "compare the workspace's model or registered versions",
        )
    layout = model.project.layout
    return Comparison(comparing.compare(layout, model.name, other.name, lambda line: None))


_COLUMNS = [
    "decision", "time", "kind", "verdict", "forced", "challenger", "model", "before", "serves",
    "metric", "of_challenger", "of_champion", "sentence", "state",
]  # fmt: skip


def _row(row: HistoryRow) -> list[Any]:
    """A decision in the order of _COLUMNS; the metric is the policy's first one."""
    record, state = row.body, row.state if row.in_force else "void"
    if record is None:
        return [row.position, *[None] * (len(_COLUMNS) - 2), state]
    full = record.means.full if record.means else {}
    metric = next(iter(((record.policy or {}).get("primary") or {}).get("metrics", [])), "ndcg@10")
    model = record.challenger
    return [
        row.position,
        pd.Timestamp(record.time),
        record.kind,
        record.verdict,
        record.forced,
        model and model.version,
        model and model.model,
        record.champion_before,
        record.sets.champion if record.sets else record.champion_before,
        metric,
        full.get("challenger", {}).get(metric),
        full.get("champion", {}).get(metric),
        record.sentence,
        state,
    ]


def _by_user(histories: "Sequence[Sequence[str]] | pd.DataFrame | None") -> dict[Any, list[str]]:
    """Histories by user, or by their place in a list; one empty history where there is none."""
    if isinstance(histories, pd.DataFrame):
        ordered = histories
        if "timestamp" in histories:
            ordered = histories.sort_values("timestamp", kind="stable")
        groups = ordered.groupby("user_id", sort=False)["item_id"]
        return {user: items.astype(str).tolist() for user, items in groups}
    return dict(enumerate([list(map(str, one)) for one in histories or [[]]]))
