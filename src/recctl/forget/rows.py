"""The rows of some users in one file of any format: whether there are any, and the file without.

A file is only replaced by a whole one. A text keeps its encoding, its compression and the bytes of
every other record; empty lines are left out.
"""

import bz2
import glob
import gzip
import io
import json
import lzma
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recctl.data import batches, columns, csv_fallback, plain, unpack
from recctl.data.interactions import CAUSES
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.files import opened_parquet, replacing

_BETWEEN = rb"""[\s\0,;|"'\[\]{}]"""
"""What is between the fields of a record, one byte; also `::` and the `:` of JSON."""
_CHUNK = 2**20


@dataclass(frozen=True)
class Users:
    """The users whose rows are meant."""

    ids: frozenset[str]
    column: str = "user_id"
    """The log's column of users."""

    @cached_property
    def word(self) -> re.Pattern[bytes]:
        """Any of the ids as a whole field of a text, in the encodings that a log may have."""
        forms = set()
        for one in self.ids:
            texts = (one, one.replace('"', '""'), json.dumps(one)[1:-1])
            codecs = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
            forms |= {text.encode(codec, "ignore") for text in texts for codec in codecs}
        ids = b"|".join(map(re.escape, sorted(forms - {b""})))
        before = rb'(?:(?<![^%b])|(?<=::)|(?<=":))' % _BETWEEN[1:-1]
        return re.compile(before + rb"(?:%b)(?=(?:\.0)?(?:::|[%b]|\Z))" % (ids, _BETWEEN[1:-1]))

    def has(self, value: object) -> bool:
        """Whether a value of the column of users is one of the ids."""
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        text = str(value)
        return text in self.ids or (text.endswith(".0") and text[:-2] in self.ids)

    def mask(self, column: Any) -> Any:
        """Which rows of an arrow column are theirs."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        found = [one for one in pc.unique(column).to_pylist() if one is not None and self.has(one)]
        return pc.is_in(column, value_set=pa.array(found, column.type))


def holds(path: Path, users: Users) -> bool:
    """Whether a file of unknown origin holds any of the users.

    Of parquet the columns of users and of unreadable lines count, or all of text where there are
    none; of text every field. A binary file of another kind holds no ids. Of a damaged one its
    bytes count.
    """
    try:
        return _holds(path, users)
    except UserError:
        return users.word.search(path.read_bytes()) is not None


def _holds(path: Path, users: Users) -> bool:
    with plain.reading(path), path.open("rb") as file:
        content = unpack.unpacked(file, path.stat().st_size, path)
        chunk = content.read(_CHUNK)
        if chunk.startswith(plain.PARQUET):
            whole = file if content is file else io.BytesIO(chunk + content.read())
            return _parquet_holds(opened_parquet(whole), users)
        if b"\0" in chunk and not chunk.startswith((b"\xff\xfe", b"\xfe\xff")):
            return False
        rest = b""
        while chunk:
            if users.word.search(rest + chunk):
                return True
            rest, chunk = (rest + chunk)[-_CHUNK:], content.read(_CHUNK)
    return False


def _parquet_holds(file: Any, users: Users) -> bool:
    schema = file.schema_arrow
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    names = [name for name in dict.fromkeys(("user_id", users.column)) if name in schema.names]
    lines = [name for name in texts if name == "line"]
    names = names or [name for name in texts if name not in ("item_id", "title", "line")]
    for batch in file.iter_batches(columns=[*names, *lines]):
        if any(pc.any(users.mask(batch[name])).as_py() for name in names):
            return True
        if any(_named(line, users) for name in lines for line in batch[name].to_pylist()):
            return True
    return False


def _named(line: str | None, users: Users) -> bool:
    return line is not None and users.word.search(line.encode(errors="replace")) is not None


def remove(path: Path, params: IngestParams, users: Users, scratch: Path, *, dry: bool) -> int:
    """Remove the users' rows from a log that is read as `params` say; how many there were.

    Raises UserError where it cannot be read so.
    """
    _clean_up(path, dry)
    readable = plain.readable(
        path, None if params.format == "parquet" else params.encoding, scratch
    )
    new = scratch / "kept"
    removed = (_parquet if params.format == "parquet" else _text)(
        readable, new, params, users, path
    )
    if removed and not dry:
        _pack(new, path)
    return removed


def remove_lines(path: Path, users: Users, scratch: Path, *, dry: bool) -> int:
    """Remove every line in which an id is a whole field, from a text that cannot be read as a log.

    Of any other file nothing is left.
    """
    _clean_up(path, dry)
    new, removed = scratch / "kept", 0
    try:
        with new.open("wb") as out:
            for line in plain.whole_lines(path):
                if b"\0" in line:
                    raise plain.damaged(path, "not a text")
                mine = users.word.search(line) is not None
                removed += mine
                out.write(b"" if mine else line)
    except UserError:
        removed = int(holds(path, users) or users.word.search(path.read_bytes()) is not None)
        if removed and not dry:
            path.unlink()
        return removed
    if removed and not dry:
        _pack(new, path)
    return removed


def _parquet(readable: Path, new: Path, params: IngestParams, users: Users, path: Path) -> int:
    columns.check(path, params, tuple(columns.schema(readable).names))
    file, removed = opened_parquet(readable), 0
    with pq.ParquetWriter(new, file.schema_arrow, compression=_codec(file)) as writer:
        for batch in file.iter_batches():
            kept = batch.filter(pc.invert(users.mask(batch[params.user_column])))
            removed += batch.num_rows - kept.num_rows
            writer.write_batch(kept)
    return removed


def _codec(file: Any) -> str:
    rows = file.metadata
    filled = rows.num_row_groups and rows.num_columns
    return str(rows.row_group(0).column(0).compression) if filled else "SNAPPY"


def _text(readable: Path, new: Path, params: IngestParams, users: Users, path: Path) -> int:
    shape = columns.shape(readable, params)
    place = shape.names.index(columns.sources(params)["user_id"])
    with path.open("rb") as file:
        start = unpack.unpacked(file, path.stat().st_size, path).read(4)
    codec, removed = plain.codec_of(start, params.encoding), 0
    first = next(plain.whole_lines(readable), b"")
    end = b"\r\n" if first.endswith(b"\r\n") else b"\n"
    with new.open("wb") as raw, io.TextIOWrapper(raw, codec, newline="") as text:

        def put(line: bytes) -> None:
            if codec == "utf-8":  # bytes that are not UTF-8 stay as they are
                raw.write(line)
            else:
                text.write(line.decode())

        if shape.header:
            put(first)
        for record, line in _records(readable, params, shape):
            mine = users.has(record[place]) if record else users.word.search(line) is not None
            removed += mine
            if not mine:
                put(line + end)
    return removed


def _records(
    path: Path, params: IngestParams, shape: csv_fallback.Shape
) -> Iterator[tuple[csv_fallback.Record, bytes]]:
    if params.format == "jsonl":
        return csv_fallback.json_lines(path, shape.names)
    return csv_fallback.delimited(path, shape)


def _clean_up(path: Path, dry: bool) -> None:
    """Remove what a process left that was killed while it replaced the file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*") if not dry else ():
        left.unlink()


def _pack(new: Path, path: Path) -> None:
    """Replace a file by another one's content, compressed as it was."""
    with path.open("rb") as file:
        kind = unpack.packing(file.read(6))
    with replacing(path) as temporary, new.open("rb") as source, _packed(temporary, kind) as out:
        shutil.copyfileobj(source, out, _CHUNK)


def _packed(path: Path, kind: str | None) -> IO[bytes]:
    if kind == "zstd":
        return pa.CompressedOutputStream(str(path), "zstd")  # type: ignore[no-any-return]
    writers: dict[str | None, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    return writers.get(kind, open)(path, "wb")  # type: ignore[no-any-return]


def remove_from_batch(path: Path, users: Users, *, dry: bool) -> int:
    """Remove the users' rows from a batch of an intake and from the counts in its header."""
    _clean_up(path, dry)
    batch, table = batches.read(path), pq.read_table(path)
    named = pa.array([_named(line, users) for line in table["line"].to_pylist()], pa.bool_())
    left = table.filter(pc.invert(pc.or_(users.mask(table["user_id"]), named)))
    removed = int(table.num_rows - left.num_rows)
    if not removed or dry:
        return removed
    good = left.filter(pc.is_null(left["cause"]))
    counts = {one["values"]: one["counts"] for one in pc.value_counts(left["cause"]).to_pylist()}
    times = pc.min_max(good["us"]).as_py()
    changed = replace(
        batch,
        rows=batch.rows - removed,
        new=good.num_rows,
        late=min(batch.late, good.num_rows),
        out_of_order=min(batch.out_of_order, good.num_rows),
        bad={cause: counts[cause] for cause in CAUSES if cause in counts},
        first_us=times["min"],
        last_us=times["max"],
    )
    with replacing(path) as temporary:
        pq.write_table(left.replace_schema_metadata(batches.header(changed)), temporary)
    return removed
