"""The manifest of a folder: path, size and sha256 of every file in it, and nothing else.

A version carries this module's source, so it is to import no more than serving needs.
"""

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from recctl.errors import UserError
from recctl.files import digest, leads_out

MLFLOW_NOTE = "registered_model_meta"
"""What MLflow adds to a version that it loads from a local store: the version's own name."""

AGAIN = PurePosixPath("artifacts/again")
"""The folder of the model that was trained again on everything; it serves where it is there."""

Manifest = dict[str, Any]
"""By relative path {"sha256": ..., "size": ...}; older versions have the sha256 alone."""


def of(folder: Path) -> Manifest:
    """The manifest of a folder; UserError for a link or anything else that is no plain file."""
    return {
        name: {"sha256": digest(folder / name), "size": (folder / name).stat().st_size}
        for name in sorted({*names(folder)} - {MLFLOW_NOTE})
    }


def check(folder: Path, expected: Manifest, besides: Collection[str] = ()) -> None:
    """Raise UserError, one line, unless a folder holds the files expected and no other ones.

    `besides` may be there as well.
    """
    for name in expected:
        if leads_out(name) or PurePosixPath(name).as_posix() != name:
            raise refused(folder, f"its manifest names '{name}', which is outside it")
    found = {*names(folder)} - {MLFLOW_NOTE, *besides}
    for name in sorted(expected.keys() | found):
        if name not in found:
            raise refused(folder, f"'{name}' is missing")
        if name not in expected:
            raise refused(folder, f"'{name}' was not registered with it")
        if not _same(folder / name, expected[name]):
            raise refused(folder, f"'{name}' is not the file registered")


def _same(path: Path, expected: Any) -> bool:
    if isinstance(expected, dict):
        return path.stat().st_size == expected.get("size") and _same(path, expected.get("sha256"))
    return isinstance(expected, str) and digest(path) == expected


def names(folder: Path) -> Iterator[str]:
    """The relative paths of all files; UserError for links and whatever else is no plain file."""
    if folder.is_symlink() or not folder.is_dir():
        raise UserError(f"no folder {folder}", "download the model version again")
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise refused(folder, f"'{path.relative_to(folder)}' is no plain file")
        for name in files:
            yield (Path(where) / name).relative_to(folder).as_posix()


def refused(folder: Path, reason: str) -> UserError:
    """The error for a version that is not to be loaded."""
    printable = reason.encode(
        "utf-8", "backslashreplace"
    ).decode()  # a file's name may be any bytes
    return UserError(
        f"the model version in {folder} is refused: {printable}",
        "register the model again, or roll back",
    )
