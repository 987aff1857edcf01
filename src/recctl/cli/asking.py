"""A question to a person at the terminal."""

import contextlib
from typing import TYPE_CHECKING

import typer

from recctl.render.text import echo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def yes_or_no(question: str, hours: float | None = None, err: bool = False) -> bool:
    """A person's answer at the terminal; no once `hours` (if any) went by without one.

    Raises:
        typer.Abort: the end of the input (Ctrl-D).
        KeyboardInterrupt: Ctrl-C.
    """
    import sys
    import time

    end = None if hours is None else time.monotonic() + 3600 * hours
    with _line_awaited() as came:
        while True:
            echo(f"{question} [y/N]: ", err=err, end="")
            if not came(end):
                echo(err=err)
                echo(f"no answer within {hours:g} hours", err=err)
                return False
            line = sys.stdin.readline()
            if not line:  # Ctrl-D
                raise typer.Abort
            answer = line.strip().lower()
            if answer in ("y", "yes"):
                return True
            if answer in ("", "n", "no"):
                return False
            echo("answer y or n", err=err)


@contextlib.contextmanager
def _line_awaited() -> "Iterator[Callable[[float | None], bool]]":
    """A function that waits for a whole line until a moment; whether one came.

    A Ctrl-C that comes just before the wait begins ends it too. Python's own `input` sleeps
    through that one: the signal has been noted, and nothing interrupts the read that follows.
    """
    import os
    import select
    import signal
    import sys
    import time

    signals, wakeup = os.pipe()  # Python writes to it at every signal that has a handler
    os.set_blocking(wakeup, False)
    before = signal.set_wakeup_fd(wakeup)

    def came(end: float | None) -> bool:
        while True:
            left = None if end is None else max(end - time.monotonic(), 0)
            ready = select.select([sys.stdin, signals], [], [], left)[0]
            if signals in ready:  # the handler has run, and did not raise
                os.read(signals, 4096)
            if ready != [signals]:
                return bool(ready)

    try:
        yield came
    finally:
        signal.set_wakeup_fd(before)
        os.close(signals)
        os.close(wakeup)
