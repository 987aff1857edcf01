"""The environment of all tests, and how they are dealt out to several processes."""

import functools
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import databases

# A machine that stalls for a moment is no finding.
settings.register_profile("recctl", deadline=None)
settings.load_profile("recctl")

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes that must be free in MEMORY."""
FLOWS = "tests/flows/"


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "RECCTL_LOCK"))]:
        del os.environ[name]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    if hasattr(config, "workerinput"):
        _like_python_m_pytest()
        return
    # most of the time that a write takes is fsync, which memory does not need
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM and os.access(MEMORY, os.W_OK):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    shared = tempfile.TemporaryDirectory(prefix="recctl-tests-")
    config.add_cleanup(shared.cleanup)
    os.environ[databases.SHARED] = shared.name


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Garbage is not looked for while modules are imported, nor later among what they hold.

    Else it takes a sixth of the time of the collection, and each forked process that looks for
    garbage copies the memory of all modules.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        gc.set_threshold(20_000, 20, 20)


def pytest_collection_finish() -> None:
    """MLflow reads its fifty migrations once and not for each new database."""
    if mlflow := sys.modules.get("mlflow.store.db.utils"):
        newest = functools.cache(mlflow._get_latest_schema_revision)
        mlflow._get_latest_schema_revision = newest  # type: ignore[attr-defined]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """After pytest has collected garbage; else DuckDB reports what exists at the very end."""
    gc.unfreeze()


def _like_python_m_pytest() -> None:
    """Give a worker of pytest-xdist a `__main__` with a file.

    Without one pyspark (Great Expectations imports it) thinks that its own doctests are run, and
    ends the process.
    """
    main = sys.modules["__main__"]
    main.__file__ = str(Path(pytest.__file__).with_name("__main__.py"))


@pytest.fixture
def quick_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions without what takes their time: new processes, pictures, waits between looks."""
    import served_here

    from recctl.promotion.ledger import aliases
    from recctl.promotion.trial import service
    from recctl.promotion.view import over_time, plots

    monkeypatch.setattr(service, "Process", served_here.Here)
    monkeypatch.setattr(service, "TIMED_REQUESTS", 2)
    monkeypatch.setattr(aliases, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(plots, "intervals", lambda body, path: path.write_bytes(b"a picture"))
    monkeypatch.setattr(over_time, "plot", lambda rows, found, path: path.write_bytes(b"a plot"))


@pytest.fixture
def quick_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC without the time that a new process takes to import it."""
    import forked_dvc
    from recctl import dvc

    monkeypatch.setattr(dvc, "ask", forked_dvc.ask)


@pytest.fixture
def quick_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of `small_project` that run here, without DVC."""
    import small_project

    from recctl import pipeline

    monkeypatch.setattr(pipeline, "stage", small_project.stage)


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """What a test, or a library that it calls, sets in the environment ends with the test."""
    before = dict(os.environ)
    yield
    now = dict(os.environ)
    for name in now.keys() - before.keys():
        del os.environ[name]
    os.environ.update({name: value for name, value in before.items() if now.get(name) != value})


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are named by their place: a gzip file holds the time of its making.

    Processes that share the tests must give each test the same name.
    """
    return argname if isinstance(val, bytes) else None


class _Dealer(LoadFileScheduling):
    """Gives a worker one file at a time, and those of tests/flows together: they share a server."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return FLOWS if file.startswith(FLOWS) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """How tests are dealt out to several processes."""
    return _Dealer(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with the files that hold slow tests, so that none of these is left to the end.

    Each worker takes the next file when it is through with one.
    """
    if not hasattr(config, "workerinput"):
        return
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
