"""A small parent process that leaves no process of its command behind.

    python -m recctl.supervise COMMAND [ARGUMENT...]

starts the command in a new session. When standard input ends (its parent died or wants it stopped)
or SIGTERM, SIGINT or SIGHUP arrives, the command's whole process group is interrupted, and killed
if that does not end it; processes that outlive the command are killed too. The exit code is the
command's, 128 + n where signal n ended it. Imports the standard library only, so that it starts
fast and no defect of ours breaks it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

GRACE_SECONDS = 6.0
"""Time between the interrupt and the kill."""

_LEFTOVERS_SECONDS = 0.5
"""Time for helpers that end shortly after the command."""
_KILLED_SECONDS = 1.0
_POLL_SECONDS = 1.0
_STEP = 0.02

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def command(arguments: list[str]) -> list[str]:
    """The command line that runs another one under supervision; give it a pipe as its stdin."""
    return [sys.executable, "-I", "-S", __file__, *arguments]


def main(arguments: list[str]) -> int:
    """Run the command to its end, or stop it; returns its exit code."""
    parent = os.getppid()
    woken = _listen()
    try:
        # after our handlers are set, so that the command starts with the default ones
        child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"recctl: {arguments[0]}: {error.strerror}", file=sys.stderr)
        return 127
    patience = _LEFTOVERS_SECONDS
    if not _wait_for_end(child, woken, parent):
        _signal(child.pid, signal.SIGINT)
        patience = GRACE_SECONDS
    if not _gone(child, patience):
        _signal(child.pid, signal.SIGKILL)
        _gone(child, _KILLED_SECONDS)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _listen() -> int:
    """A file descriptor from which the number of each signal that arrived can be read."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*_STOP, signal.SIGCHLD):
        signal.signal(number, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return reading


def _wait_for_end(child: subprocess.Popen[bytes], woken: int, parent: int) -> bool:
    """Wait until the command has ended (True) or must be stopped (False)."""
    while child.poll() is None:
        ready, _, _ = select.select([0, woken], [], [], _POLL_SECONDS)
        if 0 in ready and not os.read(0, 4096):
            return False
        if woken in ready and set(os.read(woken, 4096)) & set(_STOP):
            return False
        # a child of our parent may keep the other end of our stdin open
        if os.getppid() != parent:
            return False
    return True


def _gone(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the whole group has ended within these seconds."""
    deadline = time.monotonic() + seconds
    while child.poll() is None or _signal(child.pid, 0):
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP)
    return True


def _signal(group: int, number: int) -> bool:
    """Signal every process of the group; whether there was any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
