"""Raw files to the staged table: the source's own text, one row per record, numbered.

Reading is the work of the embedded DuckDB whatever engine runs the expressions afterwards: a
row's number is its place in the files, which only a reader that keeps their order can tell.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import lines
from recctl.data.interactions import EPOCH, UTC, Clock
from recctl.data.lines import Record, Shape
from recctl.data.params import IngestParams
from recctl.errors import UserError

STAGED = ibis.schema(
    {
        "row": "int64",
        "user_id": "string",
        "item_id": "string",
        "timestamp": "string",
        "weight": "string",
        "line": "string",
    }
)
"""The staged table: `line` holds the whole text of a line that could not be taken apart."""

CHUNK = 100_000
"""Records that the careful reader writes at a time."""


@dataclass(frozen=True)
class Staged:
    """The staged table in DuckDB, and what its times are."""

    table: ir.Table
    clock: Clock


def stage(connection: Any, params: IngestParams, folder: Path, scratch: Path) -> Staged:
    """Read the files named in `params`, which lie in `folder`, as one table in DuckDB.

    `scratch` must outlive the connection. Raises UserError when a file is missing, unreadable,
    empty or lacks a column.
    """
    paths = [_existing(folder, name) for name in params.files]
    if params.format == "parquet":
        return _parquet(connection, params, paths)
    shapes = [_shape(path, params) for path in paths]
    clock: Clock = "row" if params.format == "sequences" else params.time_unit
    if any(map(lines.too_long, paths)):
        return Staged(_careful(connection, paths, shapes, params, scratch), clock)
    try:
        tables = [_text(connection, *one, params) for one in zip(paths, shapes, strict=True)]
        return Staged(_numbered(connection, tables), clock)
    except duckdb.InvalidInputException:
        return Staged(_careful(connection, paths, shapes, params, scratch), clock)
    except duckdb.IOException as error:
        raise _unreadable(paths, error) from None


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"no file {path}, which ingest.files in params.yaml names",
            "run 'recctl data use' or 'dvc pull', or mend ingest.files",
        )
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty", "give a file with interactions")
    return path


def _unreadable(paths: list[Path], error: duckdb.Error) -> UserError:
    reason = str(error).splitlines()[0]
    named = [path for path in paths if str(path) in reason]
    return lines.damaged((named or paths)[0], reason)


def wanted(params: IngestParams) -> tuple[str, ...]:
    """The source's columns for user, item, time and, where there is one, weight."""
    if params.format == "sequences":
        return ("user_id", "item_id")
    named = (params.user_column, params.item_column, params.time_column)
    return (*named, params.weight_column) if params.weight_column else named


def _shape(path: Path, params: IngestParams) -> Shape:
    """The layout of a text file, its columns checked."""
    if params.format == "sequences":
        return Shape(_separator(path), wanted(params), header=False)
    if params.format == "jsonl":
        names = _keys(path)
    else:
        delimiter = params.delimiter or {"csv": ",", "tsv": "\t"}[params.format]
        names = lines.header(path, delimiter)
        if params.columns is not None:
            _check_width(path, params.columns, names)
            names = tuple(params.columns)
        shape = Shape(delimiter, names, header=params.columns is None)
    _check_columns(path, params, names)
    return Shape("", wanted(params), header=False) if params.format == "jsonl" else shape


def _separator(path: Path) -> str:
    first = next(lines.lines(path), b"")
    return "\t" if b"\t" in first else " "


def _keys(path: Path) -> tuple[str, ...]:
    """The keys of the first hundred JSON objects."""
    found: dict[str, None] = {}
    for line in islice(lines.lines(path), 100):
        found |= dict.fromkeys(lines.json_keys(line))
    if not found:
        raise UserError(f"{path} does not begin with JSON objects, one per line", "mend the format")
    return tuple(found)


def _check_width(path: Path, columns: list[str], first: tuple[str, ...]) -> None:
    if len(first) != len(columns):
        raise UserError(
            f"{path}: ingest.columns names {len(columns)} columns, the first line has {len(first)}",
            "mend ingest.columns or ingest.delimiter in params.yaml",
        )


def _check_columns(path: Path, params: IngestParams, names: tuple[str, ...]) -> None:
    roles = ("user_column", "item_column", "time_column", "weight_column")
    for role, name in zip(roles, wanted(params), strict=False):
        if name not in names:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise UserError(
                f"{path} has no column '{name}', which ingest.{role} names",
                f"mend ingest.{role} in params.yaml; the file's columns: {shown}",
            )


def _text(connection: Any, path: Path, shape: Shape, params: IngestParams) -> ir.Table:
    """A text file as DuckDB reads it: fast and strict."""
    packed = "gzip" if lines.is_gzip(path) else "none"
    if params.format == "jsonl":
        columns = dict.fromkeys(shape.names, "VARCHAR")
        table = connection.read_json(
            str(path), format="newline_delimited", columns=columns, compression=packed
        )
        return _columns(table, [table[name] for name in shape.names])
    quote = '"' if shape.quoted else ""
    table = connection.read_csv(
        str(path),
        columns={f"c{i}": "VARCHAR" for i in range(len(shape.names))},
        auto_detect=False,
        header=shape.header,
        delim=shape.delimiter,
        quote=quote,
        escape=quote,
        compression=packed,
    )
    places = [shape.names.index(name) for name in wanted(params)]
    return _columns(table, [table[f"c{place}"] for place in places])


def _columns(table: ir.Table, values: list[Any]) -> ir.Table:
    """The staged table's columns from user, item and, where there are such, time and weight."""
    names = ("user_id", "item_id", "timestamp", "weight")
    absent = [ibis.null("string")] * (len(names) - len(values))
    return table.select(**dict(zip(names, [*values, *absent], strict=True)))


def _numbered(connection: Any, tables: list[ir.Table]) -> ir.Table:
    """The tables one after the other, read into memory or spilled, their rows numbered."""
    raw = ibis.union(*tables) if len(tables) > 1 else tables[0]
    numbered = raw.mutate(row=ibis.row_number(), line=ibis.null("string"))
    return connection.create_table("staged", numbered.select(*STAGED.names), temp=True)


def _careful(
    connection: Any, paths: list[Path], shapes: list[Shape], params: IngestParams, scratch: Path
) -> ir.Table:
    """The same table from files with bad lines, which keep their place and number in it."""
    target = scratch / "staged.parquet"
    records = (
        record
        for path, shape in zip(paths, shapes, strict=True)
        for record in _records(path, shape, params)
    )
    with pq.ParquetWriter(target, STAGED.to_pyarrow()) as writer:
        for first, chunk in _chunks(records):
            writer.write_table(_chunk_table(first, chunk))
    return connection.read_parquet(target)


def _records(path: Path, shape: Shape, params: IngestParams) -> Iterator[tuple[Record, bytes]]:
    if params.format == "jsonl":
        yield from lines.json_lines(path, shape.names)
        return
    places = [shape.names.index(name) for name in wanted(params)]
    for record, text in lines.delimited(path, shape):
        yield record and [record[place] for place in places], text


def _chunks(
    records: Iterator[tuple[Record, bytes]],
) -> Iterator[tuple[int, list[tuple[Record, bytes]]]]:
    first = 0
    while chunk := list(islice(records, CHUNK)):
        yield first, chunk
        first += len(chunk)


def _chunk_table(first: int, chunk: list[tuple[Record, bytes]]) -> pa.Table:
    empty: list[str | None] = [None] * 4
    rows = [
        [first + place, *((record or []) + empty)[:4], None if record else _shown(text)]
        for place, (record, text) in enumerate(chunk)
    ]
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    return pa.table(columns, names=list(STAGED.names)).cast(STAGED.to_pyarrow())


def _shown(text: bytes) -> str:
    return text.decode(errors="backslashreplace")


def _parquet(connection: Any, params: IngestParams, paths: list[Path]) -> Staged:
    tables, clocks = [], set()
    for path in paths:
        try:
            names = tuple(pq.read_schema(path).names)
        except pa.ArrowInvalid as error:
            raise UserError(f"{path} is not a parquet file ({error})", "mend the format") from None
        _check_columns(path, params, names)
        table, clock = _parquet_columns(connection.read_parquet(path), params)
        tables.append(table)
        clocks.add(clock)
    if len(clocks) > 1:
        raise UserError(
            f"the times in ingest.files are of different types ({', '.join(sorted(clocks))})",
            "write them with one type",
        )
    try:
        return Staged(_numbered(connection, tables), clocks.pop())
    except duckdb.Error as error:
        raise _unreadable(paths, error) from None


def _parquet_columns(table: ir.Table, params: IngestParams) -> tuple[ir.Table, Clock]:
    time = table[params.time_column]
    clock: Clock = params.time_unit
    if time.type().is_timestamp() or time.type().is_date():
        # The type says what the numbers are; without a time zone it is UTC.
        time, clock = time.cast(UTC).delta(EPOCH, unit="microsecond"), "us"
    values = [_id(table[params.user_column]), _id(table[params.item_column]), time.cast("string")]
    if params.weight_column:
        values.append(table[params.weight_column].cast("string"))
    return _columns(table, values), clock


def _id(column: Any) -> Any:
    """An id as text; pandas makes 7.0 and NaN of integer ids where one is missing."""
    if not column.type().is_floating():
        return column.cast("string")
    return column.cast("string").nullif("nan").re_replace(r"[.]0$", "")


def titles(path: Path) -> tuple[pa.Table, int]:
    """The items file as a table of item_id and title, and how many of its lines are no use.

    Of an item named twice the first title counts. Raises UserError when the file is missing or
    lacks a column.
    """
    if not path.is_file():
        raise UserError(
            f"no file {path}, which ingest.items_file in params.yaml names",
            "run 'recctl data use' or 'dvc pull', or mend ingest.items_file or remove it",
        )
    shape = Shape(",", lines.header(path, ","))
    for name in ("item_id", "title"):
        if name not in shape.names:
            raise UserError(
                f"{path} has no column '{name}'",
                f"an items file needs item_id and title; its columns: {', '.join(shape.names)}",
            )
    item, title = shape.names.index("item_id"), shape.names.index("title")
    known: dict[str, str] = {}
    bad = 0
    for record, _ in lines.delimited(path, shape):
        named = record[item] if record else None
        if record is None or named is None:
            bad += 1
        else:
            known.setdefault(named, record[title] or "")
    return titles_table(known), bad


def titles_table(known: dict[str, str]) -> pa.Table:
    """items.parquet's content from titles by item id."""
    columns = {"item_id": pa.array(known.keys(), pa.string())}
    return pa.table(columns | {"title": pa.array(known.values(), pa.string())})
