"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import os
import sys

from recctl.cli import streams
from recctl.errors import MayPass, UserError, circumstance
from recctl.telemetry import switch_off
from recctl.text import echo, one_line
from recctl.threads import wait_shortly


def main() -> None:
    """The `recctl` command.

    Exit codes: 0 done, 1 a defect of recctl (with its traceback), 2 the user's to mend (one line),
    75 the same in a stage of a retraining, where it may pass and is worth another try,
    130 interrupted.
    """
    streams.prepare()
    switch_off()
    wait_shortly(os.environ)
    from recctl.cli.app import app

    try:
        app()
    except UserError as error:
        passing = isinstance(error, MayPass) and "RECCTL_LOCK" in os.environ
        _fail(str(error), _MAY_PASS if passing else 2)
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:  # typer's answer to KeyboardInterrupt, without a word
            echo("recctl: interrupted", err=True)
        raise
    except UnicodeEncodeError as error:  # bytes of an argument or a file's name, in our text
        if not any("\ud800" <= char <= "\udfff" for char in error.object[error.start : error.end]):
            raise
        _fail(
            f"'{error.object}' holds bytes that are not UTF-8; give it, or name the file, in UTF-8"
        )
    except OSError as error:
        told = circumstance(error)
        if told is None:
            raise
        _fail(str(told))


_INTERRUPTED = 130
_MAY_PASS = 75


def _fail(message: str, code: int = 2) -> None:
    echo(f"recctl: {one_line(message)}", err=True)
    sys.exit(code)
