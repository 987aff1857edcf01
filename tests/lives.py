"""Whether processes run, and waiting for what they do."""

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


def wait_for(what: str, condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """The first true answer of the condition; the test fails after so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:.0f} s without success for {what}")
        time.sleep(0.02)
    return answer
