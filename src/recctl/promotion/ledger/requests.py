"""Requests to MLflow's registry that are repeated where that may help."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from recctl.errors import MayPass, UserError
from recctl.redact import redact
from recctl.tracking import failures

TRIES = 8
"""Of a call in which two writers met."""
UNANSWERED = 3
"""Tries of a call whose answer breaks off, or is none of MLflow's."""
SECONDS_OF_PAUSE = 0.5
"""At most, before the second of these tries; it doubles with each."""

_PASSING = {"BAD_REQUEST", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "RESOURCE_CONFLICT"}
"""How MLflow reports that two writers met in its database; what it refuses has other codes."""

T = TypeVar("T")


class NotThere(UserError):
    """MLflow's answer that what was asked for does not exist."""


@contextlib.contextmanager
def naming_what_is_missing() -> Iterator[None]:
    """Raise NotThere where MLflow says that something does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        # by MLflow's own word; a 404 without it may be that of a proxy
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise NotThere(_one_line(error)) from None


def again(call: Callable[[], T]) -> T:
    """Call, and call again where that may help; only what may be repeated."""
    tries = 0
    while True:
        tries += 1
        try:
            with naming_what_is_missing():
                return call()
        except Exception as error:
            left, base = _patience(error)
            if tries >= left:
                raise
            time.sleep(random.uniform(base / 10, base) * 2 ** min(tries, 4))


def _patience(error: Exception) -> tuple[int, float]:
    """How often a call is tried that fails so, and the seconds of the first pause.

    MLflow's client itself repeats what gets no answer, but not what breaks off in the middle.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException, Timeout

    causes = (error, error.__cause__, error.__context__)
    if any(isinstance(one, RequestException) for one in causes):
        slow = any(isinstance(one, Timeout) for one in causes)
        return (1 if slow or not failures.may_pass(error) else UNANSWERED), SECONDS_OF_PAUSE
    if isinstance(error, MlflowException):
        return (TRIES if error.error_code in _PASSING else 1), 0.1
    return (UNANSWERED if isinstance(error, MayPass) else 1), SECONDS_OF_PAUSE


def _one_line(error: Exception) -> str:
    return " ".join(redact(str(error)).split())
