"""Rows that the service keeps: on disk at once in a log, soon after in a whole Parquet file.

A log has a line of JSON for each group of rows. `finish` writes its rows as a Parquet file of the
same name, then deletes it; killed in between, the next `finish` does the same under the same name.
One lock guards all of this, so any process may write, and any may finish what a killed one left.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data.params import IngestParams
from recctl.files import locked, replacing, sync
from recctl.layout import Layout

Row = Sequence[Any]
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Journal:
    """A folder of Parquet files; its logs and its lock are beside it."""

    folder: Path
    table: Callable[[list[Row]], pa.Table]
    """What the rows are in a Parquet file."""

    def append(self, groups: Iterable[Sequence[Row]]) -> None:
        """Add groups of rows, each whole or not at all; on return they are on disk.

        Raises OSError where they are not.
        """
        lines = b"".join(json.dumps(group).encode() + b"\n" for group in groups)
        with self._locked():
            now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
            log = next(self._logs(), self.folder.with_name(f"{self.folder.name}-{now}.jsonl"))
            with log.open("a+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                try:
                    _write(file, lines if _at_line_start(file, end) else b"\n" + lines)
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
            if end == 0:
                sync(log.parent)

    def finish(self) -> None:
        """Make whole files of all logs. Raises OSError where the disk is full: the logs stay."""
        if next(self._logs(), None) is None:
            return
        with self._locked():
            for log in self._logs():
                path = self.folder / f"{log.stem}.parquet"
                for left in self.folder.glob(f".{path.name}.*"):  # of a killed process
                    left.unlink()
                if rows := list(_rows(log)):
                    with replacing(path) as temporary:
                        pq.write_table(self.table(rows), temporary)
                log.unlink()

    def waiting(self) -> Iterator[Row]:
        """The rows that are in no whole file yet."""
        with contextlib.suppress(FileNotFoundError):  # made a whole file just now
            for log in self._logs():
                yield from _rows(log)

    def files(self) -> list[Path]:
        """The whole files, oldest first, with those that an intake has moved to taken/."""
        name = f"{self.folder.name}-*.parquet"
        found = [*self.folder.glob(name), *self.folder.glob(f"taken/{name}")]
        return sorted(found, key=lambda path: path.name)

    def _logs(self) -> Iterator[Path]:
        return self.folder.parent.glob(f"{self.folder.name}-*.jsonl")

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.folder.with_name(f"{self.folder.name}.lock"))


class News:
    """Rows of `events` that any process has added since; some come twice."""

    def __init__(self, log: Journal) -> None:
        self._log = log
        self._files = set(log.folder.glob("*.parquet"))
        self._ends: dict[Path, int] = {}

    def rows(self) -> Iterator[Row]:
        """The rows since the last call."""
        ends, self._ends = self._ends, {}
        for log in self._log._logs():
            with (
                contextlib.suppress(FileNotFoundError),
                log.open("rb") as file,
            ):  # finished just now
                file.seek(ends.get(log, 0))
                lines, newline, _ = file.read().rpartition(b"\n")
                self._ends[log] = ends.get(log, 0) + len(lines + newline)
                yield from _parsed(lines.splitlines())
        files = set(self._log.folder.glob("*.parquet"))
        for path in files - self._files:
            yield from read_events(path)
        self._files = files


def _write(file: BinaryIO, content: bytes) -> None:
    left = memoryview(content)
    while left:  # on a disk that is nearly full a write may take a part
        left = left[file.write(left) :]


def _at_line_start(file: BinaryIO, end: int) -> bool:
    """Whether the last line was written to its end; a process may have been killed before."""
    if end == 0:
        return True
    file.seek(end - 1)
    return file.read(1) == b"\n"


def _rows(log: Path) -> Iterator[Row]:
    """All rows of a log; of a line that was cut off, which was never confirmed, none."""
    with log.open("rb") as file:
        yield from _parsed(file)


def _parsed(lines: Iterable[bytes]) -> Iterator[Row]:
    for line in lines:
        try:
            yield from json.loads(line)
        except ValueError:
            continue


def events(layout: Layout) -> Journal:
    """What users did: user, item, time (microseconds), weight or None, request or None.

    The files are logs as `ingest` is set to read them; these three come first.
    """

    def table(rows: list[Row]) -> pa.Table:
        params = IngestParams.load(layout.params)
        user, item, time, weight, request = zip(*rows, strict=True)
        columns = {
            params.user_column: pa.array(user, pa.string()),
            params.item_column: pa.array(item, pa.string()),
            params.time_column: pa.array(time, _TIME),
        }
        columns.setdefault(params.weight_column or "weight", pa.array(weight, pa.float64()))
        columns.setdefault("request", pa.array(request, pa.string()))
        return pa.table(columns)

    return Journal(layout.served / "events", table)


def read_events(path: Path) -> list[Row]:
    """User, item, time and weight of each row of a file of `events`; none of a damaged file."""
    try:
        there = path if path.exists() else path.parent / "taken" / path.name  # moved just now
        user, item, time, weight, *_ = pq.read_table(there).columns
    except (pa.ArrowInvalid, FileNotFoundError):
        return []
    columns = (user, item, time.cast(pa.int64()), weight)
    return list(zip(*(one.to_pylist() for one in columns), strict=True))


def mark(layout: Layout) -> Path:
    """A file that is written when a user was forgotten: services read the events again."""
    return layout.served / "forgotten"


EXPOSURES = pa.schema(
    {
        "request": pa.string(),
        "time": _TIME,
        "user": pa.string(),
        "version": pa.int32(),
        "decision": pa.int32(),
        "items": pa.list_(pa.string()),
        "challenger": pa.int32(),
        "given_by": pa.list_(pa.int32()),
    }
)
"""Of an answer: the user's pseudonym, null where a history was sent; the items, the best first.

Of an interleaved list also the challenger's version, and for each item the version that gave it,
null where both did. Files of earlier recctl lack these two columns.
"""


def exposures(layout: Layout) -> Journal:
    """What users were shown, a row for each answer in the order of EXPOSURES."""
    return _journal(layout, "exposures", EXPOSURES)


SHADOWS = pa.schema(
    {
        "time": _TIME,
        "version": pa.int32(),
        "challenger": pa.int32(),
        "seconds": pa.float64(),
        "challenger_seconds": pa.float64(),
        "lists": pa.int32(),
        "failed": pa.int32(),
        "overlap": pa.float64(),
    }
)
"""Of a pass that the challenger repeated: the seconds of both, null where it failed; the champion's
lists, and those of them for which the challenger had none; the sum over the others of the share of
their items that both lists have. Nothing of users and items.
"""


def shadows(layout: Layout) -> Journal:
    """How a challenger answered beside the champion: rows in the order of SHADOWS."""
    return _journal(layout, "shadows", SHADOWS)


def _journal(layout: Layout, name: str, schema: pa.Schema) -> Journal:
    def table(rows: list[Row]) -> pa.Table:
        named = [dict(zip(schema.names, row, strict=False)) for row in rows]
        return pa.Table.from_pylist(named, schema=schema)

    return Journal(layout.served / name, table)
