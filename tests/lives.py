"""Whether processes run, and waiting for what they do."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

SECONDS = 240.0
"""Far longer than anything takes: on a slow machine the tests are slow, not red."""


def lives(pid: int) -> bool:
    """An ended process whose parent has not asked for it does not run."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started_as(module: str, under: int) -> list[psutil.Process]:
    """The descendants of a process that were started as `python -m MODULE`."""
    found = []
    for one in psutil.Process(under).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if [word for word in one.cmdline()[1:4] if word != "-u"][:2] == ["-m", module]:
                found.append(one)
    return found


def wait_for(what: str, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true answer of the condition; the test fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:.0f} s without success for {what}")
        time.sleep(0.02)
    return answer
