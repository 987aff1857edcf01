"""An intake in a separate process that is killed at one of its steps.

    python intake_deaths.py PROJECT MOMENT

A moment is a number: of the call that changes a file, syncs it or starts a DVC. Without one
all moments are counted and printed, one line each.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from recctl.intake.intake import take_in
from recctl.layout import Layout

EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.symlink", "subprocess.Popen", "fsync")


def watch(moment: int | None) -> list[str]:
    """Count the moments from now on, and end this process at one of them."""
    seen: list[str] = []

    def at(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in EVENTS:
            return
        seen.append(f"{event} {str(arguments[0])[-60:]}")
        if len(seen) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(file: int) -> None:
        at("fsync", (file,))
        real(file)

    real, os.fsync = os.fsync, fsync
    sys.addaudithook(at)
    return seen


def main() -> None:
    layout = Layout(Path(sys.argv[1]))
    seen = watch(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    take_in(layout, lambda _: None)
    print("\n".join(seen))


if __name__ == "__main__":
    main()
