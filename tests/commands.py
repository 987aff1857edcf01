"""`recctl ...` in this process, with all that the libraries print."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from recctl.cli import main


def here(root: Path, *arguments: str) -> int:
    """Run `recctl` in a folder, in this process, forked for it; its exit code."""
    os.chdir(root)
    sys.argv = ["recctl", *arguments]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class Outcome(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


def runner(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `recctl` in a folder: the folder, then the arguments."""

    def run(root: Path, *arguments: str) -> Outcome:
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", ["recctl", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Outcome(int(end.value.code or 0), *capfd.readouterr())

    return run
