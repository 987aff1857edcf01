"""Raw files to the staged table: the source's own text, one row per record, numbered.

Reading is the work of the embedded DuckDB whatever engine runs the expressions afterwards: a
row's number is its place in the files, which only a reader that keeps their order can tell.
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

from recctl.data import csv_fallback, plain
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
"""The staged table: `line` holds the whole text of a line that could not be taken apart, `fault`
the cause of that; `us` is the time where ingest.time_format says how it is written."""

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
    """The staged table in DuckDB, and what its times are."""

    table: ir.Table
    clock: Clock
    typed: bool = False
    """Whether the times had a type, which says what they are whatever ingest says."""


def stage(connection: Any, params: IngestParams, folder: Path, scratch: Path) -> Staged:
    """Read the files named in `params`, which lie in `folder`, as one table in DuckDB.

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
    if any(map(plain.too_long, paths)):
        return Staged(_careful(connection, paths, shapes, params, scratch), clock)
    try:
        if not _told_by_case(params, shapes[0]):
            tables = [_text(connection, *one, params) for one in zip(paths, shapes, strict=True)]
            table = _numbered(connection, tables)
            if params.format != "jsonl" or not _holds_nested(table):
                return Staged(table, clock)
    except duckdb.InvalidInputException:
        pass
    except duckdb.IOException as error:
        raise _unreadable(paths, error) from None
    return Staged(_careful(connection, paths, shapes, params, scratch), clock)


def _told_by_case(params: IngestParams, shape: Shape) -> bool:
    """Whether keys of JSON differ in nothing but case, which DuckDB does not tell apart."""
    return params.format == "jsonl" and len({n.lower() for n in shape.names}) < len(shape.names)


def _holds_nested(table: ir.Table) -> bool:
    """Whether an id may be a list or an object, which DuckDB makes a text of."""
    ids = (table.user_id, table.item_id)
    nested = [one.startswith(sign) for one in ids for sign in "[{"]
    return bool(table.filter(ibis.or_(*nested)).count().to_pyarrow().as_py())


def timed(staged: Staged, params: IngestParams) -> Staged:
    """The staged table with its times read where ingest.time_format says how they are written.

    Raises UserError when that is no format.
    """
    form = params.time_format
    if form is None or staged.typed or staged.clock == "row":
        return staged
    check_format(form)
    return Staged(staged.table.mutate(us=formatted(staged.table.timestamp, form)), "format")


def check_format(form: str) -> None:
    """UserError where DuckDB knows no such time format."""
    try:
        with duckdb.connect() as connection:
            connection.execute("SELECT try_strptime('', ?)", [form])
    except duckdb.Error as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2]
        raise UserError(
            f"'{form}' is no time format ({reason})",
            f"write one such as '%d/%m/%Y %H:%M' {option('time_format')}",
        ) from None


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
    """The source's columns for user, item, time and, where there is one, weight."""
    return tuple(name for field, name in _sources(params).items() if field != "title")


def _sources(params: IngestParams) -> dict[str, str]:
    """The source's column by the staged table's, for those that there are."""
    if params.format == "sequences":
        return {"user_id": "user_id", "item_id": "item_id"}
    named = {field: getattr(params, setting) for field, setting in _SETTING.items()}
    return {field: name for field, name in named.items() if name is not None}


def _shape(path: Path, params: IngestParams) -> Shape:
    """The layout of a text file, its columns checked."""
    if params.format == "sequences":
        return Shape(_separator(path), tuple(_sources(params)), header=False)
    if params.format == "jsonl":
        _check_columns(path, params, _keys(path))
        return Shape("", tuple(_sources(params).values()), header=False)
    delimiter = separator(params)
    names = csv_fallback.header(path, delimiter)
    if params.columns is None or set(wanted(params)) <= set(names):
        shape = Shape(delimiter, names)  # in spite of ingest.columns this file has a header
    else:
        _check_width(path, params.columns, names)
        shape = Shape(delimiter, tuple(params.columns), header=False)
    _check_columns(path, params, shape.names, delimiter)
    return shape


def separator(params: IngestParams) -> str:
    """What stands between the fields of a csv or tsv."""
    return params.delimiter or {"csv": ",", "tsv": "\t"}[params.format]


def _separator(path: Path) -> str:
    first = next(plain.lines(path), b"")
    return "\t" if b"\t" in first else " "


def _keys(path: Path) -> tuple[str, ...]:
    """The keys of the first hundred JSON objects."""
    found: dict[str, None] = {}
    for line in islice(plain.lines(path), 100):
        found |= dict.fromkeys(csv_fallback.json_object(line) or {})
    if not found:
        raise UserError(
            f"{path} does not begin with JSON objects, one per line",
            f"write it so (jq -c '.[]' takes a list apart), or name its form {option('format')}",
        )
    return tuple(found)


def _check_width(path: Path, columns: list[str], first: tuple[str, ...]) -> None:
    if len(first) != len(columns):
        raise UserError(
            f"{path}: ingest.columns names {len(columns)} columns, the first line has {len(first)}",
            f"name as many {option('columns')}, or the separator {option('delimiter')}",
        )


def _check_columns(
    path: Path, params: IngestParams, names: tuple[str, ...], delimiter: str | None = None
) -> None:
    """UserError where a column is missing or there twice."""
    times = Counter(names)
    for field, name in _sources(params).items():
        if times[name] == 1:
            continue
        there = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        between = f" between '{delimiter}'".replace("\t", "\\t") if delimiter else ""
        if times[name] > 1:
            raise UserError(
                f"{path} has {times[name]} columns '{name}' ({there})",
                "give each column a name of its own",
            )
        headless = params.columns is None and delimiter and any(map(_is_number, names))
        fix = f"its columns{between} are {there}: name the right one {option(_SETTING[field])}"
        if headless:
            fix = f"its first line is {there}; if that is no header, name the columns "
            fix += option("columns")
        raise UserError(f"{path} has no column '{name}'", fix)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(connection: Any, path: Path, shape: Shape, params: IngestParams) -> ir.Table:
    """A text file as DuckDB reads it: fast and strict."""
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
    places = [shape.names.index(name) for name in _sources(params).values()]
    return _columns(table, params, [table[f"c{place}"] for place in places])


def _columns(table: ir.Table, params: IngestParams, values: list[Any]) -> ir.Table:
    """The staged table's columns, from the values of those that the source has."""
    named = dict(zip(_sources(params), values, strict=True))
    ids = {name: whole(named[name]) for name in ("user_id", "item_id")}
    return table.select(**(named | ids))


def _numbered(connection: Any, tables: list[ir.Table]) -> ir.Table:
    """The tables one after the other, read into memory or spilled, their rows numbered."""
    raw = ibis.union(*tables) if len(tables) > 1 else tables[0]
    numbered = raw.mutate(row=ibis.row_number())
    connection.con.execute("DROP TABLE IF EXISTS staged")  # of an attempt that failed
    return _complete(connection.create_table("staged", numbered, temp=True))


def _complete(table: ir.Table) -> ir.Table:
    """The table with all columns of STAGED, those that it has not being null."""
    absent = {name: ibis.null(kind) for name, kind in STAGED.items() if name not in table.columns}
    return table.mutate(**absent).select(*STAGED.names)


def _careful(
    connection: Any, paths: list[Path], shapes: list[Shape], params: IngestParams, scratch: Path
) -> ir.Table:
    """The same table by the slow reader: a bad line keeps its place and number in it."""
    target = scratch / "staged.parquet"
    records = (
        record
        for path, shape in zip(paths, shapes, strict=True)
        for record in _records(path, shape, params)
    )
    names = (*_sources(params), "line", "fault")
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
        places = list(range(len(shape.names)))
        records = csv_fallback.json_lines(path, shape.names)
    else:
        places = [shape.names.index(name) for name in _sources(params).values()]
        records = csv_fallback.delimited(path, shape)
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
                f"get it again, or name its form {option('format')}",
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
            f"{', '.join(map(str, paths))} holds bytes that are no UTF-8 text",
            "write the columns as text or numbers",
        ) from error
    except duckdb.Error as error:
        raise _unreadable(paths, error) from None
    return Staged(table, clocks.pop(), types.pop())


def _parquet_columns(
    table: ir.Table, schema: pa.Schema, params: IngestParams, path: Path
) -> tuple[ir.Table, bool]:
    """The staged table's columns, and whether the time has a type of its own.

    By their places: names that differ in case only are one to DuckDB.
    """
    values, typed = [], False
    for field, name in _sources(params).items():
        place = schema.names.index(name)
        column, kind = table[table.columns[place]], schema.types[place]
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if field == "timestamp" and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            # The type says what the numbers are; without a time zone it is UTC.
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
    """Whether a column of this type holds one value per row that can be what is wanted."""
    types = pa.types
    if field in ("timestamp", "weight") and (types.is_date(kind) or types.is_timestamp(kind)):
        return False
    if types.is_boolean(kind):
        return field == "title"
    return not (
        types.is_nested(kind)
        or types.is_time(kind)
        or types.is_duration(kind)
        or types.is_interval(kind)
    )


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
