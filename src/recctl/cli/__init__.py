"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import contextlib
import gc
import os
import sys

from recctl.cli import streams
from recctl.errors import MAY_PASS, MayPass, UserError, circumstance
from recctl.files import keep_private
from recctl.render.text import echo, one_line
from recctl.telemetry import switch_off
from recctl.threads import wait_shortly

_INTERRUPTED = 130
_COLLECT = (50_000, 20, 10)
"""When Python looks for garbage. By its own thresholds it does so for a fourth of the time that
importing MLflow and PyTorch takes, and finds none."""


def main() -> None:
    """The `recctl` command; docs/limits.md has its exit codes."""
    gc.set_threshold(*_COLLECT)
    try:
        streams.prepare()
        switch_off()
        keep_private()
        wait_shortly(os.environ)
        from recctl.cli.app import app

        try:
            app(prog_name="recctl")
        except SystemExit:
            sys.stdout.flush()  # what cannot be written must change the exit code
            raise
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:  # typer turns KeyboardInterrupt into this, silently
            _fail("interrupted", _INTERRUPTED)
        raise
    except KeyboardInterrupt:
        _fail("interrupted", _INTERRUPTED)
    except Exception as error:
        known = _bytes(error) or circumstance(error)
        if known is None:  # a defect: Python shows its traceback and exits with 1
            raise
        passing = isinstance(known, MayPass) and "RECCTL_LOCK" in os.environ
        _fail(str(known), MAY_PASS if passing else 2)


def _bytes(error: Exception) -> UserError | None:
    """The error for an argument or a file's name that is not UTF-8."""
    if not isinstance(error, UnicodeEncodeError):
        return None
    if not any("\ud800" <= char <= "\udfff" for char in error.object[error.start : error.end]):
        return None
    return UserError(
        f"'{error.object}' holds bytes that are not UTF-8", "give it, or name the file, in UTF-8"
    )


def _fail(message: str, code: int) -> None:
    with contextlib.suppress(OSError):  # stderr may be on the full disk
        echo(f"recctl: {one_line(message)}", err=True)
    streams.drop_unwritten()
    sys.exit(code)
