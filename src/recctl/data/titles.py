"""The items' titles, from a file of items or from the log itself."""

from pathlib import Path

import pyarrow as pa

from recctl.data import csv_fallback
from recctl.data.csv_fallback import Shape
from recctl.data.formats import Staged
from recctl.errors import UserError


def read(path: Path) -> tuple[pa.Table, int]:
    """The items file as a table of item_id and title, and how many of its lines are unusable.

    Of an item named twice the first title counts. Raises UserError when the file is missing or
    lacks a column.
    """
    if not path.is_file():
        raise UserError(
            f"no file {path}, which ingest.items_file in params.yaml names",
            "run 'recctl data use' or 'dvc pull', or correct or remove ingest.items_file",
        )
    shape = Shape(",", csv_fallback.header(path, ","))
    for name in ("item_id", "title"):
        if name not in shape.names:
            raise UserError(
                f"{path} has no column '{name}'",
                f"an items file needs item_id and title; its columns: {', '.join(shape.names)}",
            )
    item, title = shape.names.index("item_id"), shape.names.index("title")
    known: dict[str, str] = {}
    bad = 0
    for record, _ in csv_fallback.delimited(path, shape):
        named = record[item] if record else None
        if record is None or named is None:
            bad += 1
        else:
            known.setdefault(named, record[title] or "")
    return table(known), bad


def of_log(staged: Staged) -> pa.Table:
    """items.parquet's content from the log's title column: of each item the first title."""
    rows = staged.table
    named = rows.filter(rows.item_id.notnull() & rows.title.notnull() & (rows.title.strip() != ""))
    first = named.group_by("item_id").agg(title=named.title.argmin(named.row))
    return first.order_by("item_id").to_pyarrow().cast(table({}).schema)


def table(known: dict[str, str]) -> pa.Table:
    """items.parquet's content from titles by item id."""
    columns = {"item_id": pa.array(known.keys(), pa.string())}
    return pa.table(columns | {"title": pa.array(known.values(), pa.string())})
