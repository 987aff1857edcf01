"""The tracking server: its address, a connection to it, the experiment of this project's runs."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from recctl.errors import MayPass, UserError
from recctl.files import locked
from recctl.layout import Layout
from recctl.redact import redact
from recctl.telemetry import switch_off
from recctl.tracking import artifacts
from recctl.tracking.artifacts import moved_from, place_of, root_of, sqlite_file
from recctl.tracking.failures import plainly

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "recctl"
"""The experiment of runs unless MLFLOW_EXPERIMENT_NAME names another."""


SECONDS_TO_ANSWER = 4
"""Timeout of a request, made twice, after which a server counts as unreachable."""

UNHURRIED = (20, 2)
"""Timeout in seconds and retries where nothing waits for the answer."""


@dataclasses.dataclass(frozen=True)
class Tracking:
    """A tracking server that answered, and the experiment for this project's runs."""

    client: "MlflowClient"
    uri: str
    experiment: str
    experiment_id: str

    def reference(self, run_id: str) -> dict[str, str]:
        """What run.json keeps: enough to find the run again, no secret."""
        return {
            "run_id": run_id,
            "experiment": self.experiment,
            "tracking_uri": _portable(self.uri),
        }


def tracking_uri(layout: Layout) -> str:
    """MLFLOW_TRACKING_URI, or an absolute sqlite address in the project.

    A relative sqlite path counts from the project's root, whatever the current directory. An
    experiment that DVC runs in a temporary copy in .dvc/tmp is tracked in the project itself: the
    copy is deleted afterwards.
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
    """The address without secrets and without this machine's folders."""
    database = sqlite_file(uri)
    return f"sqlite:///{database.name}" if database else redact(uri)


def connect(layout: Layout) -> Tracking:
    """Reach the tracking server and find or create the experiment.

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
    """Connect once to a database server: MLflow itself would retry for over 90 seconds."""
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
        # an error is raised, and reported once, in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return client


def _first_touch(uri: str) -> contextlib.AbstractContextManager[None]:
    """Hold a lock: processes that create the same sqlite tables at the same time all crash."""
    database = sqlite_file(uri)
    if database is None:
        return contextlib.nullcontext()
    return locked(database.with_name(database.name + ".lock"))


@contextlib.contextmanager
def patience(timeout: int, retries: int) -> Iterator[None]:
    """Set how long MLflow waits for a server in this block, unless the user's environment does.

    MLflow's own seven retries of 120 seconds would delay a training for minutes.
    """
    wanted = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
    }
    with environment({name: os.environ.get(name, value) for name, value in wanted.items()}):
        yield


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables in this block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _experiment(client: "MlflowClient", uri: str) -> tuple[str, str]:
    """Name and id of the experiment for new runs.

    A local experiment records the absolute folder of its artifacts. In a project that was moved or
    copied they are read from this project (see `artifacts.py`). An experiment that keeps them in
    another folder is not ours: then the runs go to `NAME-2` and so on, and to the last of these
    that is ours if none records this very folder. One that keeps them in an object store was made
    on purpose.
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
            raise MayPass(f"MLflow at {redact(uri)}: it answers for another experiment than {name}")
        if found.lifecycle_stage == "deleted":
            raise UserError(
                f"the MLflow experiment '{name}' at {redact(uri)} is deleted",
                "restore it, or set MLFLOW_EXPERIMENT_NAME to another name",
            )
        place = found.artifact_location
        in_store = urlsplit(place).scheme not in ("", "file", "mlflow-artifacts")
        if folder is None or place == folder or in_store:
            return name, found.experiment_id
        if place_of(uri, place) == folder:
            moved = name, found.experiment_id
        number += 1


def moved(tracking: Tracking) -> Path | None:
    """The folder that the experiment records in place of this project's; None in most projects."""
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
