"""MLflow tracking: one run per training, its curve while it grows, its evaluation afterwards.

The one module of the core that imports mlflow, and only inside its functions. A run carries what
is needed to repeat it: parameters, the data's md5, the code's commit, the split's fingerprint, the
environment. Environment variables are never logged, and addresses only without passwords.
"""

import contextlib
import dataclasses
import errno
import fcntl
import importlib.metadata
import logging
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl import __version__, artifacts
from recctl.artifacts import moved_from, place_of, root_of
from recctl.artifacts import sqlite_file as sqlite_file
from recctl.errors import MayPass, Unknown, UserError
from recctl.files import read_json, write_json
from recctl.layout import Layout
from recctl.redact import redact as redact
from recctl.telemetry import switch_off
from recctl.text import echo
from recctl.who import user

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "recctl"
"""Where runs are filed unless MLFLOW_EXPERIMENT_NAME says otherwise."""

BATCH_METRICS = 1000
BATCH_PARAMS = 100
"""What one log_batch may hold; MLflow refuses more."""

SECONDS_TO_ANSWER = 4
"""What a server gets, twice, before it counts as unreachable."""

SECONDS_BETWEEN_BATCHES = 2.0
SECONDS_AFTER_FAILURE = 60.0

UNHURRIED = (20, 2)
"""Timeout in seconds and retries where nothing waits for the answer."""

_REMEMBERED = 4
"""Unfinished runs kept in mind, as many as there are checkpoints kept."""


@dataclasses.dataclass(frozen=True)
class Tracking:
    """A tracking server that answered, and the experiment for this project's runs."""

    client: "MlflowClient"
    uri: str
    experiment: str
    experiment_id: str

    def reference(self, run_id: str) -> dict[str, str]:
        """What run.json keeps: enough to find the run again, nothing secret."""
        return {
            "run_id": run_id,
            "experiment": self.experiment,
            "tracking_uri": _portable(self.uri),
        }


def tracking_uri(layout: Layout) -> str:
    """MLFLOW_TRACKING_URI, or an absolute sqlite address in the project.

    A relative sqlite path counts from the project's root, whatever the current directory. An
    experiment that DVC runs in a temporary copy below .dvc/tmp is tracked in the project itself,
    for the copy is deleted afterwards.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or "sqlite:///mlflow.db"
    database = sqlite_file(uri)
    if database is None:
        return uri
    return f"sqlite:///{_project(layout.root) / database}"


def _project(root: Path) -> Path:
    for folder in root.parents:
        if folder.name == ".dvc" and root.is_relative_to(folder / "tmp"):
            return folder.parent
    return root


def _portable(uri: str) -> str:
    """The address without secrets and without the folders of this machine."""
    database = sqlite_file(uri)
    return f"sqlite:///{database.name}" if database else redact(uri)


def connect(layout: Layout) -> Tracking:
    """Reach the tracking server and find or make the experiment.

    Raises Unknown within some seconds, in one line, when the server does not answer (MayPass),
    refuses, or its database is damaged or of another MLflow version.
    """
    uri = tracking_uri(layout)
    with plainly(uri), patience(SECONDS_TO_ANSWER, retries=1), _first_touch(uri):
        _try_database(uri)
        client = _mlflow_client(uri)
        client.search_experiments(max_results=1)
        name, identifier = _experiment(client, uri)
    return Tracking(client, uri, name, identifier)


def _try_database(uri: str) -> None:
    """Connect once to a database server: MLflow itself would try for over a minute and a half."""
    if not uri.startswith(("postgresql", "mysql")):
        return
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    limit = {"connect_timeout": SECONDS_TO_ANSWER}
    create_engine(uri, poolclass=NullPool, connect_args=limit).connect().close()


def _mlflow_client(uri: str) -> "MlflowClient":
    switch_off()
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # it would print the address of a run with the password in it
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    client = artifacts.client(uri)
    for name in ("mlflow", "alembic"):
        # what goes wrong is raised, and said once, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return client


@contextlib.contextmanager
def _first_touch(uri: str) -> Iterator[None]:
    """One process at a time: several that create the same sqlite tables at once all crash."""
    database = sqlite_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(database.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def patience(timeout: int, retries: int) -> Iterator[None]:
    """How long MLflow waits for a server in this block, where the user has not said.

    MLflow's own seven retries of 120 seconds would hold up a training for minutes.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
    }
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextlib.contextmanager
def plainly(uri: str) -> Iterator[None]:
    """Turn what MLflow and the libraries below it raise into one line without secrets.

    It is Unknown, and MayPass where it may end soon: that something is absent is no failure to read
    and is told apart before, by MLflow's own word for it (see `registry.py`).
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not _foreign(error):
            raise
        raise _told(uri, error) from None


def _foreign(error: Exception) -> bool:
    """Whether a library or the machine raised it; a defect of recctl's is of Python's own types."""
    ours = type(error).__module__.partition(".")[0] in ("builtins", "recctl")
    return isinstance(error, OSError | ImportError | MemoryError) or not ours


def _told(uri: str, error: Exception) -> Unknown:
    reason = " ".join(redact(str(error)).split())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"no space left on the disk for {error.filename2 or error.filename or 'a copy'}"
        return Unknown(reason, "free some disk space and run the command again")
    kind = MayPass if may_pass(error) else Unknown
    return kind(f"MLflow at {redact(uri)}: {_short(reason)}", _fix(uri, error, reason))


_PASSING = re.compile(
    r"(?i)database is locked|connection refused|could not connect|timed out|timeout expired"
    r"|server closed the connection|terminating connection|starting up|shutting down"
    r"|too many (?:clients|connections)|recovery mode"
    r"|error code (?:408|429|5\d\d) |too many (?:408|429|5\d\d) error responses"
    r"|not in a valid JSON format"
)
"""What servers say while they are away, start, stop or are overrun."""


def may_pass(error: BaseException) -> bool:
    """Whether it is no answer or a server's own failure; not what a server refuses."""
    import requests
    from mlflow.exceptions import RestException

    reason = str(error)
    if _disk_is_full(reason):
        return False
    if isinstance(error, RestException):
        return _passing_status(int(error.get_http_status_code()))
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _passing_status(error.response.status_code)
    cause = error.__cause__ or error.__context__
    for one in (error, cause):
        if isinstance(one, requests.exceptions.SSLError):
            return False
        if isinstance(
            one,
            requests.ConnectionError
            | requests.Timeout
            | requests.exceptions.RetryError
            | requests.exceptions.ChunkedEncodingError
            | requests.JSONDecodeError
            | ConnectionError
            | TimeoutError,
        ):
            return True
    return _PASSING.search(reason) is not None


def _passing_status(status: int) -> bool:
    return status in (408, 429) or status >= 500


def _disk_is_full(reason: str) -> bool:
    return "disk is full" in reason or "No space left" in reason


_CAUSES = (
    (r"Failed to establish a new connection: (.*?)['\")]*$", r"\1"),
    (r"(Failed to resolve '[^']*')", r"\1"),
    (r"(Read timed out)", r"\1"),
    (r"too many (\d+) error responses", r"it answers HTTP \1"),
    (r"failed with error code (\d+)", r"it answers HTTP \1"),
    (r"^(\d\d\d) (?:Client|Server) Error", r"it answers HTTP \1"),
    (r"not in a valid JSON format", "it answers what is no answer of MLflow's"),
)


def _short(reason: str) -> str:
    for pattern, words in _CAUSES:
        if cause := re.search(pattern, reason):
            return cause.expand(words)
    text: str = re.split(r" \[SQL: | \(Background on this", reason)[0]
    text = re.sub(r"\(raised as a result of [^)]*\) ", "", text)  # advice to developers
    return text if len(text) <= 300 else text[:297] + "..."


def _fix(uri: str, error: Exception, reason: str) -> str:
    if _disk_is_full(reason):
        return "free some disk space and run the command again"
    if "out-of-date database schema" in reason:
        return f"back it up and run 'mlflow db upgrade {redact(uri)}'"
    if isinstance(error, PermissionError) and error.filename:
        return "check the permissions of this path"
    if sqlite_file(uri):
        return "check that this file can be written and is a database of MLflow, or move it away"
    if re.search(r"\b40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED", reason):
        return (
            "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return (
        "start the server, or correct or unset MLFLOW_TRACKING_URI (unset: a file in the project)"
    )


def _experiment(client: "MlflowClient", uri: str) -> tuple[str, str]:
    """Name and id of the experiment for new runs.

    A local experiment remembers the absolute folder of its artifacts. In a project that was moved
    or copied its artifacts are looked for in this project (see `artifacts.py`). An experiment that
    keeps them elsewhere is not ours: then the runs go to `NAME-2` and so on, and to the last of
    these that is ours if none remembers this very folder.
    """
    base = os.environ.get("MLFLOW_EXPERIMENT_NAME", "").strip() or EXPERIMENT
    root = root_of(uri)
    folder = root.as_uri() if root else None
    moved: tuple[str, str] | None = None
    number = 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        found = client.get_experiment_by_name(name)
        if found is None:
            return moved or (name, _create_experiment(client, name, folder))
        if found.name != name:
            raise MayPass(f"MLflow at {redact(uri)}: it answers for another experiment than asked")
        if found.lifecycle_stage == "deleted":
            raise UserError(
                f"the MLflow experiment '{name}' at {redact(uri)} is deleted",
                "restore it, or set MLFLOW_EXPERIMENT_NAME to another name",
            )
        if folder is None or found.artifact_location == folder:
            return name, found.experiment_id
        if place_of(uri, found.artifact_location) == folder:
            moved = name, found.experiment_id
        number += 1


def moved(tracking: Tracking) -> Path | None:
    """The folder that the experiment's runs name in place of this project's; None mostly."""
    with plainly(tracking.uri), patience(SECONDS_TO_ANSWER, retries=1):
        experiment = tracking.client.get_experiment(tracking.experiment_id)
        return moved_from(tracking.uri, experiment.artifact_location)


def _create_experiment(client: "MlflowClient", name: str, folder: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        identifier: str = client.create_experiment(name, artifact_location=folder)
    except MlflowException as error:
        found = client.get_experiment_by_name(name)  # another process may have been first
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        identifier = found.experiment_id
    return identifier


def count_models(tracking: Tracking) -> int:
    """How many models the registry holds; UserError when it does not answer."""
    with plainly(tracking.uri), patience(SECONDS_TO_ANSWER, retries=1):
        return len(tracking.client.search_registered_models(max_results=1000))


class TrainingRun:
    """A run under way. A server that fails in mid-training costs a warning, never the training."""

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
        self._waiting += _metrics({k: v for k, v in row.items() if k != "epoch"}, step=epoch)
        if time.monotonic() >= self._next:
            self._send()

    def log_curve(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Log the rows that are not logged yet; a resumed training gives those it starts from."""
        for row in rows:
            self.log_epoch(row)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log the training's final figures."""
        self._waiting += _metrics(metrics, step=0)
        self._send()

    def log_files(self, files: Sequence[Path], folder: str = "training") -> None:
        """Keep copies of files (or whole folders) with the run."""
        with self._forgiving(), plainly(self.tracking.uri), patience(*UNHURRIED):
            _log_files(self.tracking.client, self.run_id, files, folder)

    def _send(self, timeout: int = SECONDS_TO_ANSWER, retries: int = 0) -> None:
        self._next = time.monotonic() + SECONDS_AFTER_FAILURE
        with self._forgiving(), plainly(self.tracking.uri), patience(timeout, retries):
            while self._waiting:
                self.tracking.client.log_batch(self.run_id, self._waiting[:BATCH_METRICS])
                del self._waiting[:BATCH_METRICS]
            self._next = time.monotonic() + SECONDS_BETWEEN_BATCHES

    def _end(self, status: str) -> None:
        self._send(*UNHURRIED)
        with self._forgiving(), plainly(self.tracking.uri), patience(*UNHURRIED):
            self.tracking.client.set_terminated(self.run_id, status)

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            if not self._warned:
                echo(
                    f"recctl: the training goes on without MLflow until it answers again: {error}",
                    err=True,
                )
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
    tracking = connect(layout)
    with plainly(tracking.uri), patience(*UNHURRIED):
        unfinished = _unfinished(layout)
        _close_others(tracking.client, unfinished, fingerprint)
        run = _resumed(tracking, unfinished.get(fingerprint))
        run = run or _begun(tracking, layout, name, tags or {})
        _remember(layout, fingerprint, run.run_id)
        _log_params(tracking.client, run.run_id, params)
    status = "FAILED"
    try:
        yield run
        write_json(layout.training / "run.json", tracking.reference(run.run_id))
        _remember(layout, fingerprint, None)
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        run._end(status)


def _unfinished(layout: Layout) -> dict[str, str]:
    """Runs that did not end well, by the fingerprint of their training, oldest first."""
    path = layout.state / "tracking.json"
    if not path.exists():
        return {}
    try:
        runs = read_json(path, "train", ["unfinished"])["unfinished"]
    except UserError:
        runs = None
    if not isinstance(runs, dict) or not all(isinstance(run, str) for run in runs.values()):
        raise UserError(f"{path} is damaged", "delete it: interrupted runs are then not continued")
    return runs


def _remember(layout: Layout, fingerprint: str, run_id: str | None) -> None:
    runs = {key: value for key, value in _unfinished(layout).items() if key != fingerprint}
    if run_id is not None:
        runs[fingerprint] = run_id
    recent = dict(list(runs.items())[-_REMEMBERED:])
    write_json(layout.state / "tracking.json", {"unfinished": recent})


def _close_others(client: "MlflowClient", unfinished: Mapping[str, str], fingerprint: str) -> None:
    """Runs of other trainings that still count as running were killed without a word."""
    for other in (run_id for key, run_id in unfinished.items() if key != fingerprint):
        run = _find_run(client, other)
        if run and run.info.status == "RUNNING":
            client.set_terminated(other, "KILLED")


def _resumed(tracking: Tracking, run_id: str | None) -> TrainingRun | None:
    run = _find_run(tracking.client, run_id) if run_id else None
    if run is None or run_id is None or run.info.status == "FINISHED":
        return None
    tracking.client.update_run(run_id, "RUNNING")
    return TrainingRun(tracking, run_id, _logged_epochs(tracking.client, run))


def _logged_epochs(client: "MlflowClient", run: Any) -> set[int]:
    histories = (client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
    return {metric.step for history in histories for metric in history}


def _find_run(client: "MlflowClient", run_id: str) -> Any:
    """The run, or None when this server does not hold it."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if run.info.run_id != run_id:
        raise MayPass(f"MLflow answers for another run than {run_id}", "run the command again")
    return run if run.info.lifecycle_stage == "active" else None


def _begun(tracking: Tracking, layout: Layout, name: str, tags: Mapping[str, str]) -> TrainingRun:
    everything = {**lineage(layout), **environment(), **tags, "recctl.stage": "train"}
    run = tracking.client.create_run(tracking.experiment_id, tags=everything, run_name=name)
    tracking.client.log_text(run.info.run_id, packages(), "environment/packages.txt")
    return TrainingRun(tracking, run.info.run_id, epochs=set())


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    missing = [Param(key, value) for key, value in flatten(params).items() if key not in known]
    for start in range(0, len(missing), BATCH_PARAMS):
        client.log_batch(run_id, params=missing[start : start + BATCH_PARAMS])


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as text by dotted name.

    >>> flatten({"train": {"epochs": 3, "device": None}})
    {'train.epochs': '3', 'train.device': 'None'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        inner = flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat.update({f"{prefix}{key}": str(value)} if inner is None else inner)
    return flat


def _metrics(row: Mapping[str, float | None], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(metric_name(name), float(value), now, step)
        for name, value in row.items()
        if value is not None
    ]


def metric_name(name: str) -> str:
    """The name under which MLflow takes a metric: it refuses `@`.

    >>> metric_name("full/model/ndcg@10")
    'full/model/ndcg_at_10'
    """
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def _log_files(client: "MlflowClient", run_id: str, files: Sequence[Path], folder: str) -> None:
    for file in files:
        if file.is_dir():
            client.log_artifacts(run_id, str(file), f"{folder}/{file.name}")
        else:
            client.log_artifact(run_id, str(file), folder)


def log_evaluation(
    layout: Layout,
    *,
    metrics: Mapping[str, float],
    files: Sequence[Path] = (),
    tags: Mapping[str, str] | None = None,
) -> str:
    """Add an evaluation to the run that trained the model; gives back the id of the run.

    A model that came out of DVC's cache was trained on another machine, and its run may be unknown
    to this server: then a run is made that names it in the tag `recctl.trained_as`, once.
    Raises UserError when the server cannot be reached.
    """
    from mlflow.entities import RunTag

    trained = trained_run(layout)
    tracking = connect(layout)
    client = tracking.client
    with plainly(tracking.uri), patience(*UNHURRIED):
        found = _find_run(client, trained)
        run_id: str = found.info.run_id if found else _stand_in(tracking, layout, trained)
        values = _metrics(metrics, step=0)
        for start in range(0, len(values), BATCH_METRICS):
            client.log_batch(run_id, values[start : start + BATCH_METRICS])
        client.log_batch(run_id, tags=[RunTag(key, str(tag)) for key, tag in (tags or {}).items()])
        _log_files(client, run_id, files, "evaluation")
    return run_id


def trained_run(layout: Layout) -> str:
    """The id of the run that trained the model; UserError when train did not leave it."""
    return str(read_json(layout.training / "run.json", "train", ["run_id"])["run_id"])


def _stand_in(tracking: Tracking, layout: Layout, trained: str) -> str:
    """A run for a model whose own run lies on another server; the same one every time."""
    client = tracking.client
    query = f"tags.`recctl.trained_as` = '{trained}'"
    found = client.search_runs([tracking.experiment_id], query, max_results=1)
    if found:
        identifier: str = found[0].info.run_id
        return identifier
    tags = {**lineage(layout), **environment(), "recctl.trained_as": trained}
    run = client.create_run(tracking.experiment_id, tags=tags, run_name=f"restored-{trained[:8]}")
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)


@dataclasses.dataclass(frozen=True)
class LiveSeries:
    """How a version did, day by day, on what came after its training."""

    version: int
    run_id: str
    tags: dict[str, str]
    days: dict[int, dict[str, float]]
    """By day since 1970-01-01 UTC, its figures by name."""
    corrected: dict[int, int]
    """How often a day's figures have been replaced."""


MODEL, MODEL_VERSION = "recctl.registered_model", "recctl.model_version"
_MONITOR = "monitor"
_DAY_MS = 86_400_000


def live_series(tracking: Tracking, model: str) -> list[LiveSeries]:
    """Every series kept of a registered model, those of former champions too, oldest run first."""
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
    """Add days to the series of a version, which is made if it is not there; how many were added.

    `tags` tell apart series of one version, such as of its namesake before the registry was
    emptied. A day is added again only if its number of `events` changed or a figure is new; the
    new ones count then. Days are written whole, so that this may be killed and repeated.
    """
    with plainly(tracking.uri), patience(*UNHURRIED):
        kept = _series_of(tracking, model, version, tags)
        new = {day: row for day, row in days.items() if _differs(kept.days.get(day), row)}
        rows = [_day_metrics(day, row, kept.corrected.get(day, -1) + 1) for day, row in new.items()]
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
    """Of several points of a day the latest counts."""
    days: dict[int, dict[str, float]] = {}
    corrected: dict[int, int] = {}
    for key in run.data.metrics:
        history = client.get_metric_history(run.info.run_id, key)
        for point in sorted(history, key=lambda one: one.timestamp):
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


def _day_metrics(day: int, row: Mapping[str, float], times: int) -> list[Any]:
    """A day's points; each correction stands a millisecond later, which orders them for good."""
    from mlflow.entities import Metric

    at = _day_end(day) + times
    return [Metric(metric_name(name), float(value), at, day) for name, value in row.items()]


def _log_rows(client: "MlflowClient", run_id: str, rows: Sequence[list[Any]]) -> None:
    """Log rows of metrics, many at a time and none of them in two requests."""
    batch: list[Any] = []
    for row in rows:
        if len(batch) + len(row) > BATCH_METRICS:
            client.log_batch(run_id, batch)
            batch = []
        batch += row
    if batch:
        client.log_batch(run_id, batch)


def lineage(layout: Layout) -> dict[str, str]:
    """Tags that say which data and which code a run comes from; 'none' where it cannot be told."""
    commit = _git(layout.root, "rev-parse", "HEAD")
    changes = _git(layout.root, "status", "--porcelain", "--untracked-files=all", "--", *_CODE)
    remote = _git(layout.root, "config", "--get", "remote.origin.url")
    tags = {
        "recctl.data_md5": data_md5(layout),
        "recctl.split_fingerprint": _split_fingerprint(layout),
        "recctl.git_dirty": "none" if changes is None else str(bool(changes)).lower(),
        "mlflow.source.git.commit": commit or "none",
        "mlflow.source.name": "recctl stage train",
        "mlflow.source.type": "LOCAL",
    }
    return {**tags, "mlflow.source.git.repoURL": redact(remote)} if remote else tags


_CODE = (
    *("src", "flows", "dvc.yaml", "params.yaml", "pyproject.toml", "constraints.txt"),
    *("*.py", "*.sh", "*.toml", "*.cfg", "requirements*.txt", ":(exclude)tests"),
)
"""What a model is made by. A run itself writes data.dvc and dvc.lock; notes and logs make none."""


def data_md5(layout: Layout) -> str:
    """DVC's md5 of the raw data, from data.dvc."""
    pointer = layout.root / "data.dvc"
    text = pointer.read_text(encoding="utf-8", errors="replace") if pointer.is_file() else ""
    found = re.search(r"^\s*(?:-\s+)?md5:\s*(\S+)", text.partition("outs:")[2], re.MULTILINE)
    return found.group(1) if found else "none"


def _split_fingerprint(layout: Layout) -> str:
    report = layout.sequences / "report.json"
    if not report.exists():
        return "none"
    return str(read_json(report, "sequence-split", ["fingerprint"])["fingerprint"])


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None without git or outside a repository."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> dict[str, str]:
    """Tags that say where a run was made."""
    return {
        "recctl.version": __version__,
        "recctl.python": platform.python_version(),
        "recctl.torch": importlib.metadata.version("torch"),
        "recctl.platform": platform.platform(),
        "mlflow.user": user(),
    }


def packages() -> str:
    """Every installed package with its version, one per line, as pip freeze lists them."""
    found = {(d.name, d.version) for d in importlib.metadata.distributions() if d.name}
    lines = [f"{name}=={version}" for name, version in found]
    return "\n".join(sorted(lines, key=str.lower)) + "\n"
