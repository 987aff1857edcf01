"""The MLflow run of a training under way; a training that is resumed continues its run."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recctl.errors import UserError
from recctl.files import read_state, write_json
from recctl.layout import Layout
from recctl.render.text import echo
from recctl.tracking import batches, server
from recctl.tracking.failures import plainly
from recctl.tracking.lineage import environment, lineage, packages
from recctl.tracking.runs import find_run, log_files
from recctl.tracking.server import SECONDS_TO_ANSWER, UNHURRIED, Tracking, patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS_BETWEEN_BATCHES = 2.0
SECONDS_AFTER_FAILURE = 60.0

_REMEMBERED = 4
"""Unfinished runs that are remembered, as many as there are checkpoints kept."""


class TrainingRun:
    """A run under way: a server that fails during the training costs a warning, no more."""

    def __init__(self, tracking: Tracking, run_id: str, epochs: set[int]) -> None:
        self.tracking = tracking
        self.run_id = run_id
        self._epochs = epochs
        """Epochs that are logged or wait to be."""
        self._waiting: list[Any] = []
        self._next = 0.0
        self._warned = False

    def log_epoch(self, row: Mapping[str, float | None]) -> None:
        """Log one row of the curve: `epoch` and the values at its end; None for no value.

        Rows are sent at most every two seconds. An epoch that was logged before the run was
        interrupted is not logged twice.
        """
        epoch = int(row["epoch"] or 0)
        if epoch in self._epochs:
            return
        self._epochs.add(epoch)
        self._waiting += batches.metrics({k: v for k, v in row.items() if k != "epoch"}, step=epoch)
        if time.monotonic() >= self._next:
            self._send()

    def log_curve(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Log the rows that are not logged yet; a resumed training also has those it began with."""
        for row in rows:
            self.log_epoch(row)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log the training's final figures."""
        self._waiting += batches.metrics(metrics, step=0)
        self._send()

    def log_files(self, files: Sequence[Path], folder: str = "training") -> None:
        """Keep copies of files (or whole folders) with the run."""
        with self._forgiving():
            log_files(self.tracking.client, self.run_id, files, folder)

    def _send(self, timeout: int = SECONDS_TO_ANSWER, retries: int = 0) -> None:
        self._next = time.monotonic() + SECONDS_AFTER_FAILURE
        with self._forgiving(timeout, retries):
            while self._waiting:
                self.tracking.client.log_batch(self.run_id, self._waiting[: batches.BATCH_METRICS])
                del self._waiting[: batches.BATCH_METRICS]
            self._next = time.monotonic() + SECONDS_BETWEEN_BATCHES

    def _end(self, status: str) -> None:
        self._send(*UNHURRIED)
        with self._forgiving():
            self.tracking.client.set_terminated(self.run_id, status)

    @contextlib.contextmanager
    def _forgiving(
        self, timeout: int = UNHURRIED[0], retries: int = UNHURRIED[1]
    ) -> Iterator[None]:
        """Requests whose failure is a warning, printed once."""
        try:
            with plainly(self.tracking.uri), patience(timeout, retries):
                yield
        except UserError as error:
            if not self._warned:
                going_on = "the training continues without MLflow until it answers again"
                echo(f"recctl: {going_on}: {error}", err=True)
            self._warned = True


@contextlib.contextmanager
def training_run(
    layout: Layout,
    *,
    name: str,
    fingerprint: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
) -> Iterator[TrainingRun]:
    """The MLflow run of one training, from its first epoch to `artifacts/training/run.json`.

    `fingerprint` is that of the checkpoint: a training that was interrupted and is resumed
    continues its run instead of leaving a second one. The run ends FINISHED, FAILED on an
    exception, KILLED on an interrupt. `params` may be nested; keys are joined with dots.

    Raises UserError before anything is trained when the server cannot be reached.
    """
    tracking = server.connect(layout)
    with plainly(tracking.uri), patience(*UNHURRIED):
        unfinished = _unfinished(layout)
        _close_others(tracking.client, unfinished, fingerprint)
        run = _resumed(tracking, unfinished.get(fingerprint))
        run = run or _begun(tracking, layout, name, tags or {})
        _remember(layout, fingerprint, run.run_id)
        log_params(tracking.client, run.run_id, params)
    with ending(run):
        yield run
        write_json(layout.training / "run.json", tracking.reference(run.run_id))
        _remember(layout, fingerprint, None)


@contextlib.contextmanager
def ending(run: TrainingRun) -> Iterator[None]:
    """End the run with the block: FINISHED, FAILED on an exception, KILLED on an interrupt."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        run._end(status)


def _unfinished(layout: Layout) -> dict[str, str]:
    """Unfinished runs by the fingerprint of their training, the oldest first."""
    fix = "delete it: interrupted runs are then not continued"
    kept = read_state(_state(layout), dict[Literal["unfinished"], dict[str, str]], fix)
    return kept["unfinished"] if kept else {}


def _state(layout: Layout) -> Path:
    return layout.state / "tracking.json"


def _remember(layout: Layout, fingerprint: str, run_id: str | None) -> None:
    runs = {key: value for key, value in _unfinished(layout).items() if key != fingerprint}
    if run_id is not None:
        runs[fingerprint] = run_id
    recent = dict(list(runs.items())[-_REMEMBERED:])
    write_json(_state(layout), {"unfinished": recent})


def _close_others(client: "MlflowClient", unfinished: Mapping[str, str], fingerprint: str) -> None:
    """End the runs of killed trainings, which still count as running."""
    for other in (run_id for key, run_id in unfinished.items() if key != fingerprint):
        run = find_run(client, other)
        if run and run.info.status == "RUNNING":
            client.set_terminated(other, "KILLED")


def _resumed(tracking: Tracking, run_id: str | None) -> TrainingRun | None:
    run = find_run(tracking.client, run_id) if run_id else None
    if run is None or run.info.status == "FINISHED":
        return None
    return continued(tracking, run)


def continued(tracking: Tracking, run: Any) -> TrainingRun:
    """A run of MLflow's, running again."""
    run_id: str = run.info.run_id
    tracking.client.update_run(run_id, "RUNNING")
    return TrainingRun(tracking, run_id, _logged_epochs(tracking.client, run))


def _logged_epochs(client: "MlflowClient", run: Any) -> set[int]:
    histories = (client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
    return {metric.step for history in histories for metric in history}


def _begun(tracking: Tracking, layout: Layout, name: str, tags: Mapping[str, str]) -> TrainingRun:
    all_tags = {**lineage(layout), **environment(), **tags, "recctl.stage": "train"}
    run = tracking.client.create_run(tracking.experiment_id, tags=all_tags, run_name=name)
    tracking.client.log_text(run.info.run_id, packages(), "environment/packages.txt")
    return TrainingRun(tracking, run.info.run_id, epochs=set())


def log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    """Log nested params that the run does not have yet; keys are joined with dots."""
    known = client.get_run(run_id).data.params
    flat = batches.flatten(params)
    batches.log_params(client, run_id, {key: flat[key] for key in flat if key not in known})
