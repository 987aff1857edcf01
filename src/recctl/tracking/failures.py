"""Errors of MLflow and of the libraries that it uses, in one line without secrets."""

import contextlib
import errno
import re
from collections.abc import Iterator

from recctl.errors import MayPass, Unknown, UserError
from recctl.redact import redact
from recctl.tracking.artifacts import sqlite_file


@contextlib.contextmanager
def plainly(uri: str) -> Iterator[None]:
    """Raise errors of MLflow and of the libraries that it uses as Unknown, without secrets.

    It is MayPass where the cause may pass. Callers check before, by MLflow's own error code,
    whether something is merely absent (see `registry.py`).
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not _foreign(error):
            raise
        raise _unknown(uri, error) from None


def _foreign(error: Exception) -> bool:
    """Whether a library or the machine raised it; a defect of recctl's is of Python's own types."""
    ours = type(error).__module__.partition(".")[0] in ("builtins", "recctl")
    return isinstance(error, OSError | ImportError | MemoryError) or not ours


def _unknown(uri: str, error: Exception) -> Unknown:
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
"""Messages of servers that are away, start, stop or are overloaded."""


def may_pass(error: BaseException) -> bool:
    """Whether a server did not answer or failed itself; False for what it refuses."""
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
    for failure in (error, cause):
        if isinstance(failure, requests.exceptions.SSLError):
            return False
        if isinstance(
            failure,
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
    (r"not in a valid JSON format", "its answer is not MLflow's"),
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
    if type(error).__module__.partition(".")[0] in ("botocore", "boto3"):
        return "check the artifact store's endpoint and credentials (docs/tracking.md)"
    if sqlite_file(uri):
        return "check that this file can be written and is a database of MLflow, or move it away"
    if re.search(r"\b40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED", reason):
        return (
            "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return (
        "start the server, or correct or unset MLFLOW_TRACKING_URI (unset: a file in the project)"
    )
