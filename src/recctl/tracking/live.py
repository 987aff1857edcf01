"""The champion's figures day by day, in a separate MLflow run for each version."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recctl.tracking import batches
from recctl.tracking.failures import plainly
from recctl.tracking.server import UNHURRIED, Tracking, patience

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclasses.dataclass(frozen=True)
class LiveSeries:
    """The figures of a version, day by day, on the events after its training."""

    version: int
    run_id: str
    tags: dict[str, str]
    days: dict[int, dict[str, float]]
    """Its figures by name, by day since 1970-01-01 UTC."""
    corrected: dict[int, int]
    """How often a day's figures have been replaced."""


MODEL, MODEL_VERSION = "recctl.registered_model", "recctl.model_version"
_MONITOR = "monitor"
_DAY_MS = 86_400_000


def live_series(tracking: Tracking, model: str) -> list[LiveSeries]:
    """The series of all versions of a registered model, the oldest run first."""
    with plainly(tracking.uri), patience(*UNHURRIED):
        return [_live(tracking.client, run) for run in _live_runs(tracking, model)]


def log_live(
    tracking: Tracking,
    *,
    model: str,
    version: int,
    tags: Mapping[str, str],
    days: Mapping[int, Mapping[str, float]],
) -> int:
    """Add days to the series of a version, which is created if missing; how many were added.

    `tags` distinguish series of the same version number, such as of a version before the registry
    was emptied. A day is added again only if its number of `events` changed or a figure is new;
    the new figures count then. Days are written whole: killed and repeated, this is idempotent.
    """
    with plainly(tracking.uri), patience(*UNHURRIED):
        kept = _series_of(tracking, model, version, tags)
        new = {day: row for day, row in days.items() if _differs(kept.days.get(day), row)}
        # each correction of a day is a millisecond later, which keeps their order
        rows = [
            batches.metrics(row, day, _day_end(day) + kept.corrected.get(day, -1) + 1)
            for day, row in new.items()
        ]
        _log_rows(tracking.client, kept.run_id, rows)
        tracking.client.set_terminated(kept.run_id, "FINISHED")
    return len(new)


def _series_of(tracking: Tracking, model: str, version: int, tags: Mapping[str, str]) -> LiveSeries:
    wanted = {MODEL_VERSION: str(version), **tags}
    for run in _live_runs(tracking, model):
        if wanted.items() <= run.data.tags.items():
            return _live(tracking.client, run)
    run = tracking.client.create_run(
        tracking.experiment_id,
        tags={"recctl.run": _MONITOR, MODEL: model, **wanted},
        run_name=f"live-{model}-v{version}",
    )
    return LiveSeries(version, run.info.run_id, dict(run.data.tags), {}, {})


def _live_runs(tracking: Tracking, model: str) -> list[Any]:
    query = f"tags.`recctl.run` = '{_MONITOR}' and tags.`{MODEL}` = '{model}'"
    found: list[Any] = []
    token = None
    while True:
        page = tracking.client.search_runs(
            [tracking.experiment_id],
            query,
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        found += [run for run in page if run.data.tags.get(MODEL_VERSION, "").isdecimal()]
        token = page.token
        if not token:
            return found


def _live(client: "MlflowClient", run: Any) -> LiveSeries:
    """The series of a run; of several points of a day the latest counts."""
    days: dict[int, dict[str, float]] = {}
    corrected: dict[int, int] = {}
    for key in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, key)
        for point in sorted(history, key=lambda point: point.timestamp):
            days.setdefault(point.step, {})[key.replace("_at_", "@")] = point.value
            times = point.timestamp - _day_end(point.step)
            corrected[point.step] = max(times, corrected.get(point.step, 0))
    version = int(run.data.tags[MODEL_VERSION])
    ordered = dict(sorted(days.items()))
    return LiveSeries(version, run.info.run_id, dict(run.data.tags), ordered, corrected)


def _differs(kept: Mapping[str, float] | None, row: Mapping[str, float]) -> bool:
    return kept is None or kept.get("events") != row["events"] or not row.keys() <= kept.keys()


def _day_end(day: int) -> int:
    """The last millisecond of a day since 1970-01-01 UTC."""
    return (day + 1) * _DAY_MS - 1


def _log_rows(client: "MlflowClient", run_id: str, rows: Sequence[list[Any]]) -> None:
    """Log rows of metrics, many in a request and no row in two."""
    size = max(1, batches.BATCH_METRICS // max(map(len, rows), default=1))
    for first in range(0, len(rows), size):
        client.log_batch(run_id, [point for row in rows[first : first + size] for point in row])
