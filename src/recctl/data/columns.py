"""Which columns a raw file has, checked against the settings of `ingest`."""

from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import csv_fallback, plain
from recctl.data.csv_fallback import Shape
from recctl.data.params import IngestParams
from recctl.errors import UserError, option

SETTING = {
    "user_id": "user_column",
    "item_id": "item_column",
    "timestamp": "time_column",
    "weight": "weight_column",
    "title": "title_column",
}
"""The setting of `ingest` that names the source of each column."""


def wanted(params: IngestParams) -> tuple[str, ...]:
    """The source's columns for user, item, time and, if there is one, weight."""
    return tuple(name for field, name in sources(params).items() if field != "title")


def sources(params: IngestParams) -> dict[str, str]:
    """The source's column for each column of the staged table that it has."""
    if params.format == "sequences":
        return {"user_id": "user_id", "item_id": "item_id"}
    named = {field: getattr(params, setting) for field, setting in SETTING.items()}
    return {field: name for field, name in named.items() if name is not None}


def shape(path: Path, params: IngestParams) -> Shape:
    """The layout of a text file, its columns checked."""
    if params.format == "sequences":
        return Shape(_separator(path), tuple(sources(params)), header=False)
    if params.format == "jsonl":
        check(path, params, _keys(path))
        return Shape("", tuple(sources(params).values()), header=False)
    delimiter = separator(params)
    first = csv_fallback.header(path, delimiter)
    if params.columns is None or set(wanted(params)) <= set(first):
        layout = Shape(delimiter, first)  # it may have a header although ingest.columns is set
    else:
        if len(first) != len(params.columns):
            raise UserError(
                f"{path}: ingest.columns names {len(params.columns)} columns, "
                f"the first line has {len(first)}",
                f"name as many {option('columns')}, or the separator {option('delimiter')}",
            )
        layout = Shape(delimiter, tuple(params.columns), header=False)
    check(path, params, layout.names, delimiter)
    return layout


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


def check(
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
        fix = f"its columns{between} are {there}: name the right one {option(SETTING[field])}"
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


def names(path: Path, params: IngestParams) -> tuple[str, ...]:
    """The columns of a plain csv, tsv or parquet file; none of another one.

    Raises UserError as `shape` and `schema` do.
    """
    if params.format == "parquet":
        return tuple(schema(path).names)
    return shape(path, params).names if params.format in ("csv", "tsv") else ()


def schema(path: Path) -> pa.Schema:
    """The schema of a parquet file; UserError when it is not one."""
    return footer(path).schema.to_arrow_schema()


def footer(path: Path) -> pq.FileMetaData:
    """The columns and the number of rows of a parquet file; UserError when it is not one."""
    try:
        return pq.read_metadata(path)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a whole parquet file ({reason})",
            f"get it again, or name its format {option('format')}",
        ) from None
