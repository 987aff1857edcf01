"""Replaying history: each day is taken in, trained on and decided, as it would have been then.

This happens in a separate workspace in `.recctl/backfill/`, under a separate registry name: the
project's data, models and champion are not touched.
"""

import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from recctl import dvc, lock, pipeline
from recctl.config import changed, read_params
from recctl.data import versions
from recctl.errors import UserError
from recctl.files import locked, replacing, write_json
from recctl.intake import intake, sync
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.monitoring.report import Report
from recctl.monitoring.watch import NoChampion, watch
from recctl.promotion.judge.policy import PromotionParams
from recctl.retraining import decide
from recctl.retraining.run import Hooks, Result, retrain
from recctl.tracking.server import tracking_uri

BASE = "base.parquet"
EXPERIMENT = "recctl-backfill"
_COLUMNS = {"user_column": "user_id", "item_column": "item_id", "time_column": "timestamp"}


@dataclass(frozen=True)
class Met:
    """The champion on a day's events, saved before the day is trained on."""

    day: str
    events: int
    """New interactions of that day."""
    metric: str
    live: float | None
    """The champion's figure on the day's events, before it was trained on them; None: none."""
    low: float | None
    high: float | None
    champion: int | None
    """The version that served; None: none did. Of a `Day` the one that serves after it."""


@dataclass(frozen=True)
class Day(Met):
    """The result of one day."""

    ending: str
    """Of the day's retraining."""
    challenger: float | None
    """The test figure of the model trained that day; None where none was judged."""
    sentence: str


@dataclass(frozen=True)
class Replay:
    """A backfill and where it works."""

    project: Layout
    workspace: Layout
    first: date
    last: date

    @property
    def begun(self) -> bool:
        """Whether the workspace is complete."""
        return (self.workspace.root / "data.dvc").exists()


def backfill(
    project: Layout,
    first: date,
    last: date,
    hooks: Hooks,
    *,
    settings: dict[str, Any] | None = None,
) -> Iterator[Day]:
    """Retrain and decide on every day from `first` to `last`, yielding each when it is done.

    The first model is trained on everything before `first`. `settings` replace values of
    params.yaml in the workspace, such as {"train.max_epochs": 5}. Started again with the same days
    and settings it continues after the last day that was done.

    Raises UserError for days that the log does not have, MayPass where another process replays the
    same days, and what a retraining raises.
    """
    if last < first:
        raise UserError(f"the last day {last} is before the first, {first}", "swap them")
    replay = Replay(project, Layout(_root(project, first, last)), first, last)
    path = replay.workspace.root.with_suffix(".lock")  # outside the workspace, which may be removed
    with locked(path, f"another backfill from {first} to {last} is at work"):
        _prepare(replay, settings or {})
        done = _read(replay)
        yield from done or []
        with _environment(replay), lock.held(replay.workspace, "a backfill") as held:
            if done is None:
                hooks.say(f"training on everything before {first}")
                retrain(replay.workspace, held, hooks)
                done = []
                _keep(replay, done)  # or the first day, once dropped, would be trained on unmet
            for day in _days(first, last)[len(done) :]:
                hooks.say(f"replaying {day}")
                done.append(_live_through(replay, day, held, hooks))
                _keep(replay, done)
                yield done[-1]


def registered_model(replay: Replay) -> str:
    """The registry name of a backfill: that of its workspace, else one that was never used.

    A backfill that was removed leaves versions in the registry that were trained on later days.
    """
    if replay.begun:
        return PromotionParams.load(replay.workspace.params).registered_model
    name = PromotionParams.load(replay.project.params).registered_model
    days = f"{replay.first:%Y%m%d}-{replay.last:%Y%m%d}"
    return f"{name}-backfill-{days}-{secrets.token_hex(4)}"


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(number) for number in range((last - first).days + 1)]


def _live_through(replay: Replay, day: date, held: Lock, hooks: Hooks) -> Day:
    """Score the champion on the day's events, then train on them and decide."""
    met = _met(replay, day, held, hooks)
    result = retrain(replay.workspace, held, hooks)
    if met.events and result.nothing_new:
        result = _decided_before(replay.workspace, result, hooks)
    decision = result.decision
    means = decision.means.full if decision and decision.means else {}
    champion = decision.sets.champion if decision and decision.sets else met.champion
    return Day(
        **dataclasses.asdict(met) | {"champion": champion},
        ending="nothing-new" if result.nothing_new else str(result.record.ending),
        challenger=means.get("challenger", {}).get(met.metric),
        sentence=result.sentence,
    )


def _decided_before(layout: Layout, result: Result, hooks: Hooks) -> Result:
    """The result of a day on which a killed backfill decided before it could record that."""
    decision = result.decision
    if decision is None:
        found = decide.found(layout, result.record.key, hooks.say)
        decision = found[1] if found else None
    return dataclasses.replace(result, decision=decision, nothing_new=False)


def _met(replay: Replay, day: date, held: Lock, hooks: Hooks) -> Met:
    """The champion on the day's events; as saved, where the day was begun before."""
    layout = replay.workspace
    path = layout.state / "backfill-day.json"
    if path.exists():
        before = Met(**json.loads(path.read_text(encoding="utf-8")))
        if before.day == day.isoformat():
            return before
    events = _drop(replay, day)
    if events:
        sync.sync(layout, hooks.say)
        intake.take_in(layout, hooks.say)
        pipeline.stage(layout, "ingest", hooks.say, lock=held)
    metric = PromotionParams.load(layout.params).metrics[0]
    report = _watched(layout, hooks)
    series = report.series if report else []
    seen = next((point for point in series if point.day == day.isoformat()), None)
    met = Met(
        day=day.isoformat(),
        events=events,
        metric=metric,
        live=seen.values[metric] if seen else None,
        low=seen.low if seen else None,
        high=seen.high if seen else None,
        champion=report.version if report else None,
    )
    write_json(path, dataclasses.asdict(met))
    return met


def _watched(layout: Layout, hooks: Hooks) -> Report | None:
    """The champion on later events; None while no model was good enough to serve."""
    try:
        return watch(layout, hooks.say)
    except NoChampion:
        return None


# The workspace


def _root(project: Layout, first: date, last: date) -> Path:
    return project.state / "backfill" / f"{first:%Y%m%d}-{last:%Y%m%d}"


def _prepare(replay: Replay, settings: dict[str, Any]) -> None:
    """Create the workspace with the data before the first day, unless it exists."""
    project, first, root = replay.project, replay.first, replay.workspace.root
    params = _params(replay, settings)
    if replay.begun:
        if read_params(replay.workspace.params) != params:
            raise UserError(
                f"{root} holds a backfill of these days with other settings",
                "remove that folder to start again",
            )
        return
    _require_days(replay)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    shutil.copy(project.root / "dvc.yaml", root)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    if (project.root / "src").is_dir():
        shutil.copytree(project.root / "src", root / "src", ignore=ignored)
    with (root / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(params, file)
    (root / ".dvc").mkdir()
    cache = dvc.cache(project)
    (root / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
        f"[cache]\n    dir = {cache}\n",
        encoding="utf-8",
    )
    replay.workspace.data.mkdir()
    if not _write(replay, replay.workspace.data / BASE, None, first):
        raise UserError(f"the log has nothing before {first}", "give a later first day")
    items = project.data / str(read_params(project.params)["ingest"].get("items_file"))
    if items.is_file():
        shutil.copy(items, replay.workspace.data / "items.csv")
    versions.add(replay.workspace)


def _params(replay: Replay, settings: dict[str, Any]) -> dict[str, Any]:
    """The project's params with other data, another registry name, and nothing published."""
    params = read_params(replay.project.params)
    before = params["ingest"]
    params["ingest"] = {
        "name": before["name"],
        "files": [BASE],
        "format": "parquet",
        "engine": before.get("engine", "duckdb"),
        **_COLUMNS,
        **({"weight_column": "weight"} if before.get("weight_column") else {}),
        **({"items_file": "items.csv"} if before.get("items_file") else {}),
    }
    params["promotion"] = {
        **params["promotion"],
        "registered_model": registered_model(replay),
    }
    params["intake"] = {"sources": [{"kind": "folder", "path": "incoming"}]}
    params["retrain"] = {"publish": {"commit": False, "push_data": False, "push_git": False}}
    return dict(changed(params, settings))


def _drop(replay: Replay, day: date) -> int:
    """Put the day's interactions into the workspace's drop folder; how many there are."""
    folder = replay.workspace.root / "incoming"
    folder.mkdir(exist_ok=True)
    target = folder / f"{day}.parquet"
    taken = folder / "taken" / target.name
    if taken.exists():  # killed after the intake of this day
        import pyarrow.parquet as pq

        return int(pq.read_metadata(taken).num_rows)
    return _write(replay, target, day, day + timedelta(1))


def _write(replay: Replay, target: Path, first: date | None, end: date) -> int:
    """Write the project's interactions of some days to a file, if there are any; their number."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    source = _source(replay)
    filters = pc.field("timestamp") < _midnight(end)
    if first is not None:
        filters &= pc.field("timestamp") >= _midnight(first)
    table = pq.read_table(source, filters=filters).sort_by([("timestamp", "ascending")])
    if table.num_rows:
        with replacing(target) as temporary:
            pq.write_table(table.drop_columns(["row"]), temporary)
    return int(table.num_rows)


def _source(replay: Replay) -> Path:
    source = replay.project.interactions / "interactions.parquet"
    if not source.is_file():
        raise UserError(f"no {source}", "run 'dvc repro ingest'")
    return source


def _require_days(replay: Replay) -> None:
    """UserError where the log ends before the last day."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    times = pq.read_table(_source(replay), columns=["timestamp"])["timestamp"]
    newest = pc.max(times).as_py()
    if newest is None or newest.date() < replay.last:
        end = "is empty" if newest is None else f"ends on {newest.date()}"
        raise UserError(f"the log {end}, before {replay.last}", "give an earlier last day")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@contextmanager
def _environment(replay: Replay) -> Iterator[None]:
    """Track in the project's MLflow, in the experiment of backfills."""
    wanted = {
        "MLFLOW_TRACKING_URI": tracking_uri(replay.project),
        "MLFLOW_EXPERIMENT_NAME": EXPERIMENT,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _path(replay: Replay) -> Path:
    return replay.workspace.state / "backfill.json"


def _keep(replay: Replay, done: list[Day]) -> None:
    write_json(_path(replay), [dataclasses.asdict(day) for day in done])


def _read(replay: Replay) -> list[Day] | None:
    """The days that are done; None: not even the training before the first day."""
    try:
        return [Day(**day) for day in json.loads(_path(replay).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return None
