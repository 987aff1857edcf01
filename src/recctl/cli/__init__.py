"""The command line: parse, call, print. Heavy imports happen inside the commands."""

import errno
import os
import sys

from recctl.errors import UserError
from recctl.telemetry import switch_off


def main() -> None:
    """The `recctl` command.

    Exit codes: 0 done, 1 a defect of recctl (with its traceback), 2 the user's to mend (one line),
    130 interrupted.
    """
    switch_off()
    # Threads that spin while they wait make a training five times slower beside a busy neighbour.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from recctl.cli.app import app

    try:
        app()
    except UserError as error:
        _fail(str(error))
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:  # typer's answer to KeyboardInterrupt, without a word
            print("recctl: interrupted", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno not in _CIRCUMSTANCES:
            raise
        where = f" at {error.filename}" if error.filename else ""
        _fail(f"{os.strerror(error.errno)}{where}; {_CIRCUMSTANCES[error.errno]}")


_INTERRUPTED = 130
_CIRCUMSTANCES = {
    errno.ENOSPC: "free some disk space and run the command again",
    errno.EDQUOT: "your disk quota is used up: free some space and run the command again",
    errno.EACCES: "check the permissions of this path",
    errno.EROFS: "the file system is read-only: use a project folder that can be written",
    errno.EISDIR: "a folder stands where a file should be: move it away",
    errno.EEXIST: "a file stands where a folder should be: move it away",
    errno.ENOTDIR: "a file stands where a folder should be: move it away",
}


def _fail(message: str) -> None:
    print(f"recctl: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
