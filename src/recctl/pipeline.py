"""Running DVC so that nothing of it is left behind, whatever happens to us."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from recctl.errors import UserError
from recctl.layout import Layout

_GRACE_SECONDS = 10.0


def repro(layout: Layout, on_line: Callable[[str], None]) -> None:
    """Run `dvc repro --pull` in the project, handing on each line that it prints.

    DVC and the stages it starts get a process group of their own: when this is interrupted, by
    whatever exception, the whole group is, for DVC alone would leave its stage running. Raises
    UserError when DVC ends with an error; its reason is among the lines.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--pull"],
        cwd=layout.root,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                on_line(line.rstrip())
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
    if code != 0:
        raise UserError(f"dvc repro ended with exit code {code} in {layout.root}", "see its lines")


def _environment() -> dict[str, str]:
    """Ours, with this interpreter's commands first: the stages call `recctl` by name."""
    commands = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": os.pathsep.join([commands, os.environ.get("PATH", "")])}


def _stop(process: subprocess.Popen[str]) -> None:
    """Interrupt the process group; what still runs after some seconds is killed."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
