"""A drop folder: which files are complete, and where they are moved after reading."""

import lzma
import os
import stat
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from recctl import limits
from recctl.data import unpack
from recctl.errors import UserError
from recctl.files import sync

UNFINISHED = (".part", ".tmp")
_LONGEST = 240
"""Bytes of a name, of the 255 that file systems allow."""

Stamp = tuple[int, int, int]
"""Size, time of change in nanoseconds, inode."""


def files(folder: Path) -> list[Path]:
    """The files to take, links and devices included, by name; none if the folder does not exist.

    Subfolders, names that begin with a dot and names of unfinished files are ignored.
    """
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_wanted(path))


def _is_wanted(path: Path) -> bool:
    return (
        not path.name.startswith(".")
        and not path.name.lower().endswith(UNFINISHED)
        and not path.is_dir()
    )


def no_file(path: Path) -> str | None:
    """Why the path is not read at all; None for a plain file, or where it is gone.

    A link could point to any file of the machine, and a pipe or a device never ends.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(mode):
        return "it is a symbolic link, which is not followed; put the file itself here"
    if not stat.S_ISREG(mode):
        return "it is a pipe, a socket or a device and not a file; put a file here"
    return None


def stamp(path: Path) -> Stamp | None:
    """Facts that change with the file's content; None when it is gone or not a plain file."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def settled(path: Path, deadline: float) -> Stamp | None:
    """The stamp of a file that is complete; None if it is still written to at the deadline.

    It is complete limits.SETTLED seconds after its last change, or limits.UNENDED where it is text
    without a line break at its end: its writer may be in the middle of a row.
    """
    while (seen := stamp(path)) is not None:
        age = time.time() - seen[1] / 1e9
        if age >= limits.SETTLED:
            return seen if age >= limits.UNENDED or not _in_mid_row(path) else None
        time.sleep(limits.SETTLED - max(age, 0.0))
        if age < 0 and stamp(path) == seen:  # the file's clock is ahead of ours
            return seen
        if time.monotonic() >= deadline:
            break
    return None


def _in_mid_row(path: Path) -> bool:
    """Whether a text file's last line has no end, in any encoding; false for packed files."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".parquet" or file.read(2) == b"\x1f\x8b":
                return False
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 4, 0))
            last = file.read().rstrip(b"\0")  # of UTF-16 and UTF-32
    except OSError:  # reading the file raises the error
        return False
    return bool(last) and last[-1:] not in (b"\n", b"\r")


def under_way(path: Path) -> bool:
    """Whether a file that cannot be read may still become complete: cut off and changed lately."""
    try:
        return time.time() - path.stat().st_mtime < limits.UNTOUCHED and _cut_off(path)
    except FileNotFoundError:
        return False


def _cut_off(path: Path) -> bool:
    """Whether a file is empty, or is a packed or parquet file without its end."""
    if path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        first = file.read(6)
        if path.suffix.lower() == ".parquet":
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 4, 0))
            return size < _LEAST_PARQUET or file.read() != b"PAR1"
    return unpack.packing(first) is not None and _lacks_end(path)


_LEAST_PARQUET = 12
"""Bytes: the mark at both ends, and the length of the footer."""


def _lacks_end(path: Path) -> bool:
    try:
        unpack.read_through(path)
    except EOFError:
        return True
    except (OSError, zlib.error, lzma.LZMAError, UserError) as error:
        return "Truncated" in str(error)  # of zstd; any other error is damage
    return False


def shown(path: Path) -> str:
    """A file's name for messages and JSON: on one line, with escapes for invisible characters.

    >>> shown(Path("two\\nlines.csv")), shown(Path("\\udcff.csv"))
    ('two\\\\nlines.csv', '\\\\udcff.csv')
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in path.name)


def move(path: Path, name: str) -> None:
    """Move a file into a folder beside it, under a free name."""
    _move(path, next(target for target in _targets(path, name) if not os.path.lexists(target)))


def refuse(path: Path, reason: str, home: Path | None = None) -> Path:
    """Move a file to refused/ in its folder, with the reason in a text file beside it.

    `home` is the drop folder if the file is elsewhere; returns the new path.
    """
    text = (reason + "\n").encode()
    for target in _targets((home or path.parent) / path.name, "refused"):
        note = target.with_name(target.name + ".txt")
        if not os.path.lexists(target) and (not os.path.lexists(note) or _says(note, text)):
            note.write_bytes(text)
            try:
                _move(path, target)
            except OSError:
                note.unlink()  # otherwise every intake would leave another
                raise
            return target
    raise AssertionError("there is always a free name")


def _says(note: Path, text: bytes) -> bool:
    """Whether the reason exists already: the intake that wrote it was killed before the move."""
    return note.is_file() and note.read_bytes() == text


def _targets(path: Path, name: str) -> Iterator[Path]:
    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    short = path.name
    while len(os.fsencode(short)) > _LONGEST:  # leaves room for a number and .txt
        short = short[1:]
    return _names(folder, short)


def _move(path: Path, target: Path) -> None:
    path.rename(target)
    sync(target.parent)
    sync(path.parent)


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name
    stem, dot, suffix = name.partition(".")
    number = 2
    while True:
        yield folder / f"{stem}-{number}{dot}{suffix}"
        number += 1
