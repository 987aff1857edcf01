"""Removes what killed processes left in `.recctl/`, before it fills the disk."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from recctl.layout import Layout

DAY = 86_400.0
"""Seconds; a process that still uses a folder has written to it within this time."""

_LEFT = (
    "tables-*",  # spilled tables of a stage or of an intake
    "describe-*",
    "everything-*",  # sequences of a training on everything
    "package-*",  # a model on its way into the registry
    "versions/.fetched-*",  # and out of it
)
"""Scratch folders: their own process removes them when it is not killed."""


def clean_up(layout: Layout, now: float | None = None) -> list[str]:
    """Remove scratch folders that were not written to for a day; their names.

    Nothing else is touched: checkpoints, downloads under way and versions are resumed, or limited,
    by the code that owns them. `now` is in seconds since 1970. Never raises: what cannot be removed
    stays.
    """
    before = (time.time() if now is None else now) - DAY
    found = [path for path in _scratch(layout.state) if _newest(path) < before]
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path.relative_to(layout.state).as_posix() for path in found if not path.exists()]


def _scratch(state: Path) -> Iterator[Path]:
    for pattern in _LEFT:
        for path in sorted(state.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                yield path


def _newest(folder: Path) -> float:
    """When the folder or anything in it was last written to, in seconds since 1970.

    Infinity where that cannot be read.
    """
    try:
        return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    except OSError:
        return float("inf")  # it is being removed or written
