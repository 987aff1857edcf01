"""Raw files to the staged table: the source's own text, one row per interaction, numbered.

Reading is the work of the embedded DuckDB whatever engine runs the expressions afterwards: a
row's number is its place in the files, which only a reader that keeps their order can tell.
"""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir

from recctl.data.params import IngestParams, TimeUnit
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


@dataclass(frozen=True)
class Staged:
    """The staged table, and the unit of its times where the source itself says it."""

    table: ir.Table
    unit: TimeUnit | None


def stage(connection: Any, params: IngestParams, folder: Path) -> Staged:
    """Read the files named in `params`, which lie in `folder`, as one table in DuckDB.

    Raises UserError when a file is missing, unreadable, empty or lacks a column.
    """
    paths = [_existing(folder, name) for name in params.files]
    tables = [_read(connection, path, params) for path in paths]
    raw = ibis.union(*tables) if len(tables) > 1 else tables[0]
    numbered = raw.mutate(row=ibis.row_number(), line=ibis.null("string"))
    if params.format == "sequences":
        numbered = numbered.mutate(timestamp=numbered.row.cast("string"))
    connection.create_table("staged", numbered.select(*STAGED.names), temp=True)
    return Staged(connection.table("staged"), "us" if params.format == "sequences" else None)


def _existing(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"no file {path}, which ingest.files in params.yaml names",
            "run 'recctl data use' or 'dvc pull', or mend ingest.files",
        )
    return path


def _read(connection: Any, path: Path, params: IngestParams) -> ir.Table:
    if params.format in ("csv", "tsv"):
        delimiter = params.delimiter or ("," if params.format == "csv" else "\t")
        names = params.columns or _header(path, delimiter)
        table = connection.read_csv(
            path,
            columns={f"c{i}": "VARCHAR" for i in range(len(names))},
            auto_detect=False,
            header=params.columns is None,
            delim=delimiter,
            quote='"',
            escape='"',
        )
        return _named(table.rename({name: f"c{i}" for i, name in enumerate(names)}), params)
    if params.format == "sequences":
        table = connection.read_csv(
            path,
            columns={"user_id": "VARCHAR", "item_id": "VARCHAR"},
            auto_detect=False,
            header=False,
            delim=" ",
            quote="",
            escape="",
        )
        return table.mutate(timestamp=ibis.null("string"), weight=ibis.null("string"))
    if params.format == "parquet":
        return _named(connection.read_parquet(path), params)
    return _named(connection.read_json(path, format="newline_delimited"), params)


def _named(table: ir.Table, params: IngestParams) -> ir.Table:
    weight = params.weight_column
    return table.select(
        user_id=table[params.user_column].cast("string"),
        item_id=table[params.item_column].cast("string"),
        timestamp=table[params.time_column].cast("string"),
        weight=table[weight].cast("string") if weight else ibis.null("string"),
    )


def _header(path: Path, delimiter: str) -> list[str]:
    with _open(path) as lines:
        for line in lines:
            return next(csv.reader([line.replace(delimiter, "\x1f")], delimiter="\x1f"))
    raise UserError(f"{path} is empty", "give a file with interactions")


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig")
