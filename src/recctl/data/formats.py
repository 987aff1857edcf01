"""Raw files to the staged table: the source's own text, one row per record, numbered.

The embedded DuckDB reads the files, whatever engine runs the expressions afterwards: a row's number
is its place in the files, so the reader must keep their order.
"""

from collections import Counter
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

from recctl.data import csv_fallback, engine, interactions, plain
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

_SETTING = {
    "user_id": "user_column",
    "item_id": "item_column",
    "timestamp": "time_column",
    "weight": "weight_column",
    "title": "title_column",
}
"""The setting of `ingest` that names the source of each column."""

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
    paths = [_existing(folder, name) for name in params.files]
    encoding = None if params.format == "parquet" else params.encoding
    copies = [plain.readable(path, encoding, scratch) for path in paths]
    with plain.called(dict(zip(copies, map(str, paths), strict=True))):
        staged = _staged(connection, params, copies, scratch)
    return timed(staged, params)


def _staged(connection: Any, params: IngestParams, paths: list[Path], scratch: Path) -> Staged:
    if params.format == "parquet":
        return _parquet(connection, params, paths)
    shapes = [_shape(path, params) for path in paths]
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


def _existing(folder: Path, name: str) -> Path:
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


def wanted(params: IngestParams) -> tuple[str, ...]:
    """The source's columns for user, item, time and, if there is one, weight."""
    return tuple(name for field, name in sources(params).items() if field != "title")


def sources(params: IngestParams) -> dict[str, str]:
    """The source's column for each column of the staged table that it has."""
    if params.format == "sequences":
        return {"user_id": "user_id", "item_id": "item_id"}
    named = {field: getattr(params, setting) for field, setting in _SETTING.items()}
    return {field: name for field, name in named.items() if name is not None}


def _shape(path: Path, params: IngestParams) -> Shape:
    """The layout of a text file, its columns checked."""
    if params.format == "sequences":
        return Shape(_separator(path), tuple(sources(params)), header=False)
    if params.format == "jsonl":
        _check_columns(path, params, _keys(path))
        return Shape("", tuple(sources(params).values()), header=False)
    delimiter = separator(params)
    names = csv_fallback.header(path, delimiter)
    if params.columns is None or set(wanted(params)) <= set(names):
        shape = Shape(delimiter, names)  # in spite of ingest.columns this file has a header
    else:
        if len(names) != len(params.columns):
            raise UserError(
                f"{path}: ingest.columns names {len(params.columns)} columns, "
                f"the first line has {len(names)}",
                f"name as many {option('columns')}, or the separator {option('delimiter')}",
            )
        shape = Shape(delimiter, tuple(params.columns), header=False)
    _check_columns(path, params, shape.names, delimiter)
    return shape


def separator(params: IngestParams) -> str:
    """The separator of the fields of a csv or tsv."""
    return params.delimiter or {"csv": ",", "tsv": "\t"}[params.format]


def _separator(path: Path) -> str:
    first = next(plain.lines(path), b"")
    return "\t" if b"\t" in first else " "


def _keys(path: Path) -> tuple[str, ...]:
    """The keys of the first hundred JSON objects."""
    keys: dict[str, None] = {}
    for line in islice(plain.lines(path), 100):
        keys |= dict.fromkeys(csv_fallback.json_object(line) or {})
    if not keys:
        raise UserError(
            f"{path} does not begin with JSON objects, one per line",
            f"write it so (jq -c '.[]' splits a list), or name its format {option('format')}",
        )
    return tuple(keys)


def _check_columns(
    path: Path, params: IngestParams, names: tuple[str, ...], delimiter: str | None = None
) -> None:
    """UserError where a column is missing or occurs twice."""
    times = Counter(names)
    for field, name in sources(params).items():
        if times[name] == 1:
            continue
        there = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        between = f" between '{delimiter}'".replace("\t", "\\t") if delimiter else ""
        if times[name] > 1:
            raise UserError(
                f"{path} has {times[name]} columns '{name}' ({there})",
                "give each column a different name",
            )
        headless = params.columns is None and delimiter and any(map(_is_number, names))
        fix = f"its columns{between} are {there}: name the right one {option(_SETTING[field])}"
        if headless:
            fix = f"its first line is {there}; if that is not a header, name the columns "
            fix += option("columns")
        raise UserError(f"{path} has no column '{name}'", fix)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(connection: Any, path: Path, shape: Shape, params: IngestParams) -> ir.Table:
    """A text file read by DuckDB, which is fast and stops at a bad line."""
    packed = "gzip" if plain.is_gzip(path) else "none"
    if params.format == "jsonl":
        columns = dict.fromkeys(shape.names, "VARCHAR")
        table = connection.read_json(
            str(path), format="newline_delimited", columns=columns, compression=packed
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
    places = [shape.names.index(name) for name in sources(params).values()]
    return _columns(table, params, [table[f"c{place}"] for place in places])


def _columns(table: ir.Table, params: IngestParams, values: list[Any]) -> ir.Table:
    """The columns of the staged table that the source has, from their values."""
    named = dict(zip(sources(params), values, strict=True))
    ids = {name: whole(named[name]) for name in ("user_id", "item_id")}
    return table.select(**(named | ids))


def _numbered(connection: Any, tables: list[ir.Table]) -> ir.Table:
    """The rows of all tables, numbered in their order, in memory or spilled to disk."""
    raw = ibis.union(*tables) if len(tables) > 1 else tables[0]
    numbered = raw.mutate(row=ibis.row_number())
    connection.con.execute("DROP TABLE IF EXISTS staged")  # of an attempt that failed
    return _complete(connection.create_table("staged", numbered, temp=True))


def _complete(table: ir.Table) -> ir.Table:
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
    names = (*sources(params), "line", "fault")
    schema = pa.schema(dict.fromkeys(names, pa.string()))
    with pq.ParquetWriter(target, schema) as writer:
        while chunk := list(islice(records, CHUNK)):
            columns = zip(*chunk, strict=True)
            writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema))
    table = connection.read_parquet(target)
    ids = {name: whole(table[name]) for name in ("user_id", "item_id")}
    return _numbered(connection, [table.mutate(**ids)])


def _records(path: Path, shape: Shape, params: IngestParams) -> Iterator[list[str | None]]:
    """The wanted values of each record, then the line and its fault where it is bad."""
    if params.format == "jsonl":
        records = csv_fallback.json_lines(path, shape.names)
    else:
        records = csv_fallback.delimited(path, shape)
    places = [shape.names.index(name) for name in sources(params).values()]
    bad: list[str | None] = [None] * len(places)
    for record, text in records:
        if record is None:
            yield [*bad, text.decode(errors="backslashreplace"), csv_fallback.fault(text)]
        else:
            yield [*(record[place] for place in places), None, None]


def _parquet(connection: Any, params: IngestParams, paths: list[Path]) -> Staged:
    tables, clocks, types = [], set(), set()
    for path in paths:
        try:
            schema = pq.read_schema(path)
        except pa.ArrowInvalid as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path} is not a whole parquet file ({reason})",
                f"get it again, or name its format {option('format')}",
            ) from None
        _check_columns(path, params, tuple(schema.names))
        table, typed = _parquet_columns(connection.read_parquet(path), schema, params, path)
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
        raise UserError(
            f"{', '.join(map(str, paths))} holds bytes that are not UTF-8 text",
            "write the columns as text or numbers",
        ) from error
    except duckdb.Error as error:
        raise _unreadable(paths, error) from None
    return Staged(table, clocks.pop(), types.pop())


def _parquet_columns(
    table: ir.Table, schema: pa.Schema, params: IngestParams, path: Path
) -> tuple[ir.Table, bool]:
    """The staged table's columns, and whether the time has a date or timestamp type.

    Columns are taken by position: DuckDB does not distinguish names that differ in case only.
    """
    values, typed = [], False
    for field, name in sources(params).items():
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
                f"{option(_SETTING[field])}",
            )
        values.append(_parquet_text(column, kind))
    return _columns(table, params, values), typed


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
