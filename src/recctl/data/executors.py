"""Parquet files that Spark's executors read: no row of them passes through this process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import columns, engine, formats
from recctl.data.interactions import Clock
from recctl.data.params import IngestParams
from recctl.data.plain import PARQUET

_ROW, _METADATA = "recctl row", "_metadata"
"""The column with the number of a row, and the one in which Spark gives its place in the file."""


@ibis.udf.scalar.builtin(signature=((dt.string,), dt.boolean))  # type: ignore[untyped-decorator]
def is_valid_utf8(text: Any) -> Any:
    """Spark's function of that name."""


@dataclass(frozen=True)
class Files:
    """The log's files, which executors must reach by their paths on this machine."""

    paths: list[Path]
    params: IngestParams
    clock: Clock
    footers: list[pq.FileMetaData]

    def stage(self, connection: Any) -> ir.Table:
        """The staged table of `recctl.data.formats` on Spark.

        Raises UserError when a file holds bytes that are not text.
        """
        tables, first = [], 0
        for path, footer in zip(self.paths, self.footers, strict=True):
            row, name = f"{first} + {_METADATA}.row_index", str(path.absolute()).replace("`", "``")
            raw = connection.sql(f"SELECT *, {row} AS `{_ROW}` FROM parquet.`{name}`")
            schema = footer.schema.to_arrow_schema()
            table, _ = formats.parquet_columns(raw, schema, self.params, path, row=raw[_ROW])
            tables.append(table)
            first += footer.num_rows
        log = formats.complete(ibis.union(*tables) if len(tables) > 1 else tables[0])
        texts = [log[field] for field, kind in log.schema().items() if kind.is_string()]
        invalid = ibis.or_(*(~is_valid_utf8(text) for text in texts))
        if engine.one_row(connection, log.agg(any=invalid.any()))["any"]:
            raise formats.not_text(self.paths)
        return log

    @property
    def rows(self) -> int:
        """The rows of all files."""
        return sum(footer.num_rows for footer in self.footers)


def files(params: IngestParams, data: Path) -> Files | None:
    """The log in `data`, where the executors read it as this machine would; None where not.

    Raises UserError when a file is missing, is not parquet or lacks a column.
    """
    if params.format != "parquet" or params.title_column is not None:
        return None
    paths = [formats.existing(data, name) for name in params.files]
    typed, footers = set(), []
    for path in paths:
        with path.open("rb") as file:
            if file.read(len(PARQUET)) != PARQUET:
                return None
        footers.append(columns.footer(path))
        schema = footers[-1].schema.to_arrow_schema()
        columns.check(path, params, tuple(schema.names))
        kinds = {field: schema.field(name).type for field, name in columns.sources(params).items()}
        distinct = {name.lower() for name in (*schema.names, _METADATA, _ROW)}
        if len(distinct) < len(schema.names) + 2 or not all(map(_same, kinds, kinds.values())):
            return None
        typed.add(pa.types.is_temporal(kinds["timestamp"]))
    if len(typed) > 1 or (params.time_format is not None and typed == {False}):
        return None
    clock: Clock = "us" if typed == {True} else params.time_unit
    return Files(paths, params, clock, footers)


def _same(field: str, kind: pa.DataType) -> bool:
    """Whether Spark makes the same text of a column as DuckDB."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(kind):
        return not pa.types.is_uint64(kind)
    if pa.types.is_floating(kind):  # only a weight that is bad shows its text
        return field == "weight" and not pa.types.is_float16(kind)
    if pa.types.is_timestamp(kind):
        return field == "timestamp" and str(kind.unit) != "ns"
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
