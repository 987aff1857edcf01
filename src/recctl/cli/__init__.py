"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import os
import sys

from recctl.errors import MayPass, UserError, circumstance
from recctl.telemetry import switch_off
from recctl.threads import wait_shortly


def main() -> None:
    """The `recctl` command.

    Exit codes: 0 done, 1 a defect of recctl (with its traceback), 2 the user's to mend (one line),
    75 the same in a stage of a retraining, where it may pass and is worth another try,
    130 interrupted.
    """
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
            print("recctl: interrupted", file=sys.stderr)
        raise
    except OSError as error:
        told = circumstance(error)
        if told is None:
            raise
        _fail(str(told))


_INTERRUPTED = 130
_MAY_PASS = 75


def _fail(message: str, code: int = 2) -> None:
    print(f"recctl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
