"""What holds for all tests: how they are dealt out to several processes."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A machine that stalls for a moment is no finding.
settings.register_profile("recctl", deadline=None)
settings.load_profile("recctl")


def pytest_configure(config: pytest.Config) -> None:
    """Make a worker of pytest-xdist look like `python -m pytest`.

    Its `__main__` has no file, by which pyspark (Great Expectations imports it) thinks that its own
    doctests are run, and ends the process.
    """
    if hasattr(config, "workerinput"):
        main = sys.modules["__main__"]
        main.__file__ = str(Path(pytest.__file__).with_name("__main__.py"))


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes are named by their place: a gzip file holds the time of its making.

    Processes that share the tests must give each test the same name.
    """
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with the files that hold slow tests, so that none of these is left to the end.

    Each worker takes the next file when it is through with one (`--dist loadfile`).
    """
    if not hasattr(config, "workerinput"):
        return
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
