"""Recognises files by their content; names only decide between several that fit."""

import ast
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from recctl.data import unpack
from recctl.data.plain import PARQUET, reading
from recctl.errors import UserError
from recctl.files import leads_out

HEAD_BYTES = 256 * 1024
HEAD_LINES = 200

Fits = Callable[[list[str]], bool]
"""Whether the first lines of a file, at least one, have a layout."""


@dataclass(frozen=True)
class Entry:
    """One file: on disk, or a member of a zip archive."""

    path: Path
    size: int
    member: str | None = None

    @property
    def name(self) -> str:
        """The file's own name, without any folder."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)


def entries(path: Path) -> list[Entry]:
    """The files at `path`: the file itself, a zip archive's members, or a folder's files.

    Raises UserError when there is none, when it cannot be read, or when an archive is damaged or
    names files outside itself.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not _hidden(file))
        return [entry for file in files for entry in entries(file)]
    with reading(path):
        size = path.stat().st_size
        if not zipfile.is_zipfile(path):
            return [Entry(path, size)]
        with zipfile.ZipFile(path) as archive:
            unpack.check(archive, path)
            members = [(member, _member(path, member)) for member in archive.infolist()]
        return [entry for member, entry in members if _is_file(member)]


def _hidden(file: Path) -> bool:
    return file.name.startswith((".", "_"))


def _is_file(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    return not member.is_dir() and parts[0] != "__MACOSX" and not parts[-1].startswith(".")


def _member(path: Path, member: zipfile.ZipInfo) -> Entry:
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if leads_out(str(name)) or ":" in name.parts[0]:
        raise UserError(
            f"{path} holds a file with a path outside it ('{member.filename}')",
            "do not use this archive",
        )
    if member.flag_bits & 1 or member.compress_type not in _UNPACKED:
        raise UserError(
            f"{path} is encrypted or compressed in a way that Python cannot unpack",
            "unpack it yourself",
        )
    return Entry(path, member.file_size, member.filename)


_UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@contextmanager
def opened(entry: Entry, packed: bool = True) -> Iterator[IO[bytes]]:
    """The entry's bytes, decompressed unless `packed` is false."""
    with reading(entry.path):
        if entry.member is None:
            with entry.path.open("rb") as file:
                yield unpack.unpacked(file, entry.size, entry) if packed else file
        else:
            with zipfile.ZipFile(entry.path) as archive, archive.open(entry.member) as file:
                yield unpack.unpacked(file, entry.size, entry) if packed else file


def is_gzip(entry: Entry) -> bool:
    """Whether the entry is a gzip file."""
    with opened(entry, packed=False) as file:
        return unpack.packing(file.read(6)) == "gzip"


def is_parquet(entry: Entry) -> bool:
    """Whether the entry has the first bytes of a parquet file."""
    with opened(entry) as file:
        return file.read(4) == PARQUET


def head(entry: Entry) -> list[str]:
    """The first lines as text: UTF-8, or Latin-1 where it is not; none for binary files."""
    with opened(entry) as file:
        start = file.read(HEAD_BYTES)
    if b"\0" in start:
        return []
    lines = start.split(b"\n")
    if len(start) == HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may be cut
    text = decoded(b"\n".join(lines[:HEAD_LINES]))
    return [line for line in text.splitlines() if line.strip()]


def decoded(data: bytes) -> str:
    """Text of a file that is UTF-8 or, as older MovieLens files are, Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def layout(entry: Entry, among: Iterable[str] | None = None) -> str | None:
    """The name of the entry's layout, of those `among`; None when it has none of them."""
    return _first_fit(entry, {name: LAYOUTS[name] for name in among or LAYOUTS if name in LAYOUTS})


def item_layout(entry: Entry) -> str | None:
    """Which of ITEM_LAYOUTS the entry has."""
    return _first_fit(entry, ITEM_LAYOUTS)


def _first_fit(entry: Entry, layouts: Mapping[str, Fits]) -> str | None:
    lines = [] if is_parquet(entry) else head(entry)
    return next((name for name, fits in layouts.items() if lines and fits(lines)), None)


def has_header(lines: list[str], separator: str) -> bool:
    """Whether the first of these lines names columns: none of its fields is a number."""
    return not any(_number(field) for field in lines[0].split(separator))


def _number(text: str) -> bool:
    return text.strip().lstrip("-").replace(".", "", 1).isdigit()


def _all_fields(lines: list[str], separator: str, count: int) -> bool:
    rows = [line.split(separator) for line in lines]
    return bool(rows) and all(
        len(row) == count and all(_number(field) for field in row) for row in rows
    )


def _u_data(lines: list[str]) -> bool:
    fields = [field.lower() for field in lines[0].split("\t")]
    if len(fields) == 4 and "user" in fields[0] and "item" in fields[1] and "time" in fields[3]:
        return _all_fields(lines[1:], "\t", 4)
    return _all_fields(lines, "\t", 4)


_PRODUCT = re.compile(r"[0-9]{9}[0-9X]|B[0-9A-Z]{9}")
"""An ASIN: an ISBN, or ten characters that begin with B."""


def _amazon(user: int, item: int) -> Fits:
    """Amazon's ratings, with the reviewer and the product in these columns."""

    def matches(lines: list[str]) -> bool:
        rows = [line.split(",") for line in lines]
        return all(
            len(row) == 4
            and _number(row[2])
            and float(row[2]) <= 5
            and row[3].strip().isdigit()
            and _PRODUCT.fullmatch(row[item])
            and not _PRODUCT.fullmatch(row[user])
            for row in rows
        )

    return matches


def _records_with(*keys: str) -> Fits:
    def matches(lines: list[str]) -> bool:
        first = record(lines[0]) if lines[0].startswith("{") else None
        return first is not None and all(key in first for key in keys)

    return matches


def record(line: str) -> dict[str, Any] | None:
    """The dictionary written in a line, as JSON or as a Python literal; None when it is neither.

    Nothing is evaluated: literals only.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


RATINGS_CSV = "userId,movieId,rating,timestamp"
"""The header of MovieLens' ratings.csv."""

LAYOUTS: dict[str, Fits] = {
    "u.data": _u_data,
    "ratings.dat": lambda lines: _all_fields(lines, "::", 4),
    "ratings.csv": lambda lines: lines[0] == RATINGS_CSV and len(lines) > 1,
    "sequences": lambda lines: _all_fields(lines, " ", 2) or _all_fields(lines, "\t", 2),
    "amazon-ratings": _amazon(user=0, item=1),
    "amazon-ratings-2018": _amazon(user=1, item=0),
    "amazon-reviews": _records_with("reviewerID", "asin", "unixReviewTime"),
    "steam-reviews": _records_with("product_id", "date"),
}
"""Known layouts of interaction logs, named like the file that has it in its archive."""


def _movies_dat(lines: list[str]) -> bool:
    rows = [line.split("::") for line in lines]
    return all(len(row) == 3 and row[0].isdigit() for row in rows)


ITEM_LAYOUTS: dict[str, Fits] = {
    "u.item": lambda lines: all(len(line.split("|")) == 24 for line in lines),
    "movies.dat": _movies_dat,
    "movies.csv": lambda lines: lines[0] == "movieId,title,genres",
    "items.csv": lambda lines: {"item_id", "title"} <= set(lines[0].split(",")),
}
"""Known layouts of files with the items' titles."""

_ITEMS_OF = {"u.data": "u.item", "ratings.dat": "movies.dat", "ratings.csv": "movies.csv"}


@dataclass(frozen=True)
class KnownLog:
    """An interaction log of a known layout, and the file with its items' titles if there is one."""

    entry: Entry
    layout: str
    items: Entry | None = None


def find(path: Path, among: Iterable[str] | None = None) -> KnownLog | None:
    """The interaction log in a file, archive or folder; None when no file has a known layout.

    If several files have the layout (MovieLens 100K has splits beside u.data), the one with the
    usual name is taken, otherwise the largest.
    """
    files = entries(path)
    logs = [(entry, name) for entry in files if (name := layout(entry, among))]
    if not logs:
        return None
    log, name = max(logs, key=lambda pair: (pair[0].name == pair[1], pair[0].size))
    return KnownLog(log, name, _items_beside(files, _ITEMS_OF.get(name)))


def _items_beside(files: list[Entry], wanted: str | None) -> Entry | None:
    named = [entry for entry in files if wanted and entry.name.startswith(wanted)]
    return next((entry for entry in named if item_layout(entry) == wanted), None)
