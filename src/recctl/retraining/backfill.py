"""Replaying history: each day is taken in, trained on and decided, as it would have been then.

`workspace.py` holds the separate project in which this happens.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from recctl import lock, pipeline
from recctl.errors import UserError
from recctl.files import locked, read_state, write_json
from recctl.intake import intake, sync
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.monitoring.watch import NoChampion, watch
from recctl.promotion.judge.policy import PromotionParams
from recctl.retraining import decide
from recctl.retraining.run import Hooks, Result, retrain
from recctl.retraining.workspace import Replay
from recctl.tracking.server import environment, tracking_uri

EXPERIMENT = "recctl-backfill"
T = TypeVar("T")


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
    replay = Replay(project, first, last)
    workspace = replay.workspace
    path = workspace.root.with_suffix(".lock")  # outside the workspace, which may be removed
    tracking = {"MLFLOW_TRACKING_URI": tracking_uri(project), "MLFLOW_EXPERIMENT_NAME": EXPERIMENT}
    with locked(path, f"another backfill from {first} to {last} is at work"):
        replay.prepare(settings or {})
        # None: not even the training before the first day
        done = _saved(workspace, "backfill.json", list[Day])
        yield from done or []
        with environment(tracking), lock.held(workspace, "a backfill") as held:
            if done is None:
                hooks.say(f"training on everything before {first}")
                retrain(workspace, held, hooks)
                done = []
                _save(workspace, done)  # or the first day, once dropped, would be trained on unmet
            for day in replay.days[len(done) :]:
                hooks.say(f"replaying {day}")
                done.append(_live_through(replay, day, held, hooks))
                _save(workspace, done)
                yield done[-1]


def _save(workspace: Layout, done: list[Day]) -> None:
    write_json(workspace.state / "backfill.json", [dataclasses.asdict(day) for day in done])


def _saved(workspace: Layout, name: str, kind: type[T]) -> T | None:
    fix = f"remove the folder {workspace.root} to start again"
    return read_state(workspace.state / name, kind, fix)


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
    layout, name = replay.workspace, day.isoformat()
    before = _saved(layout, "backfill-day.json", Met)
    if before is not None and before.day == name:
        return before
    events = replay.drop(day)
    if events:
        sync.sync(layout, hooks.say)
        intake.take_in(layout, hooks.say)
        pipeline.stage(layout, "ingest", hooks.say, lock=held)
    metric = PromotionParams.load(layout.params).metrics[0]
    try:
        report = watch(layout, hooks.say)
    except NoChampion:  # no model was good enough to serve
        report = None
    seen = next((point for point in report.series if point.day == name), None) if report else None
    met = Met(
        day=name,
        events=events,
        metric=metric,
        live=seen.values[metric] if seen else None,
        low=seen.low if seen else None,
        high=seen.high if seen else None,
        champion=report.version if report else None,
    )
    write_json(layout.state / "backfill-day.json", dataclasses.asdict(met))
    return met
