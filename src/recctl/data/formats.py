"""Raw files to the staged table: the source's own text, one row per record, numbered.

The embedded DuckDB reads the files, whatever engine runs the expressions afterwards: a row's number
is its place in the files, so the reader must keep their order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import columns, csv_fallback, engine, interactions, plain
from recctl.data.csv_fallback import Shape
from recctl.data.interactions import EPOCH, UTC, Clock, formatted, whole
from recctl.data.params import IngestParams
from recctl.errors import UserError, option

STAGED = ibis.schema(
    {
        "row": "int64",
        "user_id": "string",
        "item_id": "string",
        "timestamp": "string",
        "weight": "string",
        "title": "string",
        "line": "string",
        "fault": "string",
        "us": "int64",
    }
)
"""The staged table: `line` is the whole text of a line that could not be split, `fault` the cause;
`us` is the time where ingest.time_format is set."""

CHUNK = 100_000
"""Records that the slow reader writes at a time."""


@dataclass(frozen=True)
class Staged:
    """The staged table in DuckDB, and how its times are read."""

    table: ir.Table
    clock: Clock
    typed: bool = False
    """Whether the times had a date or timestamp type, which overrides the settings of ingest."""


def stage(connection: Any, params: IngestParams, folder: Path, scratch: Path) -> Staged:
    """Read the files in `folder` that `params` name as one table in DuckDB.

    `scratch` must outlive the connection. Raises UserError when a file is missing, unreadable,
    empty or lacks a column.
    """
    paths = [existing(folder, name) for name in params.files]
    encoding = None if params.format == "parquet" else params.encoding
    copies = [plain.readable(path, encoding, scratch) for path in paths]
    with plain.called(dict(zip(copies, map(str, paths), strict=True))):
        staged = _staged(connection, params, copies, scratch)
    return timed(staged, params)


def _staged(connection: Any, params: IngestParams, paths: list[Path], scratch: Path) -> Staged:
    if params.format == "parquet":
        return _parquet(connection, params, paths)
    shapes = [columns.shape(path, params) for path in paths]
    clock: Clock = "row" if params.format == "sequences" else params.time_unit
    table = _fast(connection, paths, shapes, params)
    if table is None:
        table = _slow(connection, paths, shapes, params, scratch)
    return Staged(table, clock)


def _fast(
    connection: Any, paths: list[Path], shapes: list[Shape], params: IngestParams
) -> ir.Table | None:
    """The table as DuckDB reads it; None where csv_fallback must read it instead."""
    is_json = params.format == "jsonl"
    # DuckDB does not distinguish keys that differ in case only, and makes text of nested ids.
    by_case = is_json and len({name.lower() for name in shapes[0].names}) < len(shapes[0].names)
    if by_case or any(map(plain.too_long, paths)):
        return None
    try:
        pairs = zip(paths, shapes, strict=True)
        tables = [_text(connection, path, shape, params) for path, shape in pairs]
        table = _numbered(connection, tables)
    except duckdb.InvalidInputException:
        return None
    except duckdb.IOException as error:
        raise _unreadable(paths, error) from None
    ids = (table.user_id, table.item_id)
    nested = ibis.or_(*(id_.startswith(sign) for id_ in ids for sign in "[{"))
    return None if is_json and engine.count(table.filter(nested)) else table


def timed(staged: Staged, params: IngestParams) -> Staged:
    """The staged table with its times read by ingest.time_format, where that is set.

    Raises UserError when it is not a time format.
    """
    form = params.time_format
    if form is None or staged.typed or staged.clock == "row":
        return staged
    interactions.check_format(form)
    return Staged(staged.table.mutate(us=formatted(staged.table.timestamp, form)), "format")


def existing(folder: Path, name: str) -> Path:
    """The log's file of that name; UserError when it is missing or empty."""
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"no file {path}, which ingest.files in params.yaml names",
            "run 'recctl data use' or 'dvc pull', or change ingest.files",
        )
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty", "give a file with interactions")
    return path


def _unreadable(paths: list[Path], error: duckdb.Error) -> UserError:
    reason = str(error).splitlines()[0]
    named = [path for path in paths if str(path) in reason]
    return plain.damaged((named or paths)[0], reason)


def _text(connection: Any, path: Path, shape: Shape, params: IngestParams) -> ir.Table:
    """A text file read by DuckDB, which is fast and stops at a bad line."""
    packed = "gzip" if plain.is_gzip(path) else "none"
    if params.format == "jsonl":
        types = dict.fromkeys(shape.names, "VARCHAR")
        table = connection.read_json(
            str(path), format="newline_delimited", columns=types, compression=packed
        )
        return _columns(table, params, [table[name] for name in shape.names])
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
    places = [shape.names.index(name) for name in columns.sources(params).values()]
    return _columns(table, params, [table[f"c{place}"] for place in places])


def _columns(table: ir.Table, params: IngestParams, values: list[Any], **more: Any) -> ir.Table:
    """The columns of the staged table that the source has, from their values."""
    named = dict(zip(columns.sources(params), values, strict=True))
    ids = {name: whole(named[name]) for name in ("user_id", "item_id")}
    return table.select(**(named | ids), **more)


def _numbered(connection: Any, tables: list[ir.Table]) -> ir.Table:
    """The rows of all tables, numbered in their order, in memory or spilled to disk."""
    raw = ibis.union(*tables) if len(tables) > 1 else tables[0]
    numbered = raw.mutate(row=ibis.row_number())
    connection.con.execute("DROP TABLE IF EXISTS staged")  # of an attempt that failed
    return complete(connection.create_table("staged", numbered, temp=True))


def complete(table: ir.Table) -> ir.Table:
    """The table with all columns of STAGED, null where it has none."""
    absent = {name: ibis.null(kind) for name, kind in STAGED.items() if name not in table.columns}
    return table.mutate(**absent).select(*STAGED.names)


def _slow(
    connection: Any, paths: list[Path], shapes: list[Shape], params: IngestParams, scratch: Path
) -> ir.Table:
    """The same table by the slow reader: a bad line keeps its place and number in it."""
    target = scratch / "staged.parquet"
    records = (
        record
        for path, shape in zip(paths, shapes, strict=True)
        for record in _records(path, shape, params)
    )
    names = (*columns.sources(params), "line", "fault")
    schema = pa.schema(dict.fromkeys(names, pa.string()))
    with pq.ParquetWriter(target, schema) as writer:
        while chunk := list(islice(records, CHUNK)):
            values = zip(*chunk, strict=True)
            writer.write_table(pa.table(dict(zip(names, values, strict=True)), schema))
    table = connection.read_parquet(target)
    ids = {name: whole(table[name]) for name in ("user_id", "item_id")}
    return _numbered(connection, [table.mutate(**ids)])


def _records(path: Path, shape: Shape, params: IngestParams) -> Iterator[list[str | None]]:
    """The wanted values of each record, then the line and its fault where it is bad."""
    if params.format == "jsonl":
        records = csv_fallback.json_lines(path, shape.names)
    else:
        records = csv_fallback.delimited(path, shape)
    places = [shape.names.index(name) for name in columns.sources(params).values()]
    bad: list[str | None] = [None] * len(places)
    for record, text in records:
        if record is None:
            yield [*bad, text.decode(errors="backslashreplace"), csv_fallback.fault(text)]
        else:
            yield [*(record[place] for place in places), None, None]


def _parquet(connection: Any, params: IngestParams, paths: list[Path]) -> Staged:
    tables, clocks, types = [], set(), set()
    for path in paths:
        schema = columns.schema(path)
        columns.check(path, params, tuple(schema.names))
        table, typed = parquet_columns(connection.read_parquet(path), schema, params, path)
        tables.append(table)
        types.add(typed)
        clocks.add("us" if typed else params.time_unit)
    if len(types) > 1:
        raise UserError(
            f"the times in ingest.files are of different types ({', '.join(sorted(clocks))})",
            "write them with one type",
        )
    try:
        table = _numbered(connection, tables)
    except duckdb.ConversionException as error:
        raise not_text(paths) from error
    except duckdb.Error as error:
        raise _unreadable(paths, error) from None
    return Staged(table, clocks.pop(), types.pop())


def not_text(paths: list[Path]) -> UserError:
    """The error for parquet files whose text is not UTF-8."""
    return UserError(
        f"{', '.join(map(str, paths))} holds bytes that are not UTF-8 text",
        "write the columns as text or numbers",
    )


def parquet_columns(
    table: ir.Table, schema: pa.Schema, params: IngestParams, path: Path, **more: Any
) -> tuple[ir.Table, bool]:
    """The staged table's columns and `more`, and whether the time has a date or timestamp type.

    Columns are taken by position: DuckDB does not distinguish names that differ in case only.
    """
    values, typed = [], False
    for field, name in columns.sources(params).items():
        place = schema.names.index(name)
        column, kind = table[table.columns[place]], schema.types[place]
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if field == "timestamp" and _is_dated(kind):
            # Without a time zone it is UTC.
            typed = True
            column = column.cast(UTC).delta(EPOCH, unit="microsecond")
        elif not _is_value(kind, field):
            raise UserError(
                f"column '{name}' of {path} is of type {kind}",
                f"write one {field.removesuffix('_id')} per row, or name another column "
                f"{option(columns.SETTING[field])}",
            )
        values.append(_parquet_text(column, kind))
    return _columns(table, params, values, **more), typed


def _is_value(kind: pa.DataType, field: str) -> bool:
    """Whether a column of this type can hold the values of a field."""
    if pa.types.is_boolean(kind):
        return field == "title"
    if pa.types.is_temporal(kind):
        return _is_dated(kind) and field not in ("timestamp", "weight")
    return not pa.types.is_nested(kind)


def _is_dated(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


@ibis.udf.scalar.builtin(signature=((dt.binary,), dt.string))  # type: ignore[untyped-decorator]
def decode(data: Any) -> Any:
    """DuckDB's function of that name: UTF-8 bytes as text."""


def _parquet_text(column: Any, kind: pa.DataType) -> Any:
    types = pa.types
    if types.is_null(kind):
        return ibis.null("string")
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return decode(column)
    if types.is_decimal(kind):
        return column.cast("string").re_replace(r"[.]0+$", "")
    return column.cast("string")
