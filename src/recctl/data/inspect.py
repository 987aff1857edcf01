"""A first look at a log of the user's own: its format, its columns, the unit of its times."""

import csv
import itertools
import json
import statistics
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, cast, get_args

from recctl.data import recognise
from recctl.data.params import Format, TimeUnit
from recctl.data.recognise import Entry
from recctl.errors import UserError

SAMPLE = 1000
"""Rows looked at."""

Row = dict[str, Any]


def guess_format(entry: Entry, wanted: set[str]) -> tuple[Format, str | None]:
    """The format and, where it is not the format's own, the delimiter.

    `wanted` are the columns that the header must have. Raises UserError when nothing fits.
    """
    if recognise.is_parquet(entry):
        return "parquet", None
    lines = recognise.head(entry)
    if not lines:
        raise UserError(f"{entry} is empty or not a text", "give a log with at least one row")
    if lines[0].startswith("{") and isinstance(recognise.record(lines[0]), dict):
        return "jsonl", None
    if recognise.layout(entry, ["sequences"]):
        return "sequences", None
    return _delimited(entry, lines[0], wanted)


def _delimited(entry: Entry, header: str, wanted: set[str]) -> tuple[Format, str | None]:
    by_format: dict[str, tuple[Format, str | None]] = {"\t": ("tsv", None), ",": ("csv", None)}
    for delimiter in ("\t", ",", ";", "|", "::"):
        if wanted <= set(_split(header, delimiter)):
            return by_format.get(delimiter, ("csv", delimiter))
    for delimiter in by_format:
        if delimiter in header:
            return by_format[delimiter]
    raise UserError(
        f"{entry} has no form that is known here",
        f"say which with --format ({', '.join(get_args(Format))})",
    )


def sample(
    entry: Entry, form: Format, delimiter: str | None = None, columns: list[str] | None = None
) -> list[Row]:
    """The first rows, by column. `columns` names them where the file has no header.

    Raises UserError when the entry cannot be read in this format or holds no row.
    """
    rows = list(itertools.islice(_rows(entry, form, delimiter, columns), SAMPLE))
    if not rows:
        raise UserError(f"{entry} holds no rows", "give a log with at least one interaction")
    return rows


def _rows(
    entry: Entry, form: Format, delimiter: str | None, columns: list[str] | None
) -> Iterator[Row]:
    if form == "parquet":
        return _parquet_rows(entry)
    if form == "jsonl":
        return _json_rows(entry)
    if form == "sequences":
        return _sequence_rows(entry)
    return _delimited_rows(entry, delimiter or ("\t" if form == "tsv" else ","), columns)


def _lines(entry: Entry) -> Iterator[str]:
    with recognise.opened(entry) as file:
        try:
            yield from recognise.text_lines(file)
        except UnicodeDecodeError:
            raise UserError(
                f"{entry} is not UTF-8 text", "convert it, such as by: iconv -f latin1 -t utf-8"
            ) from None


def _split(line: str, delimiter: str) -> list[str]:
    if len(delimiter) > 1:
        return line.rstrip("\r\n").split(delimiter)
    return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])


def _delimited_rows(entry: Entry, delimiter: str, columns: list[str] | None) -> Iterator[Row]:
    lines = _lines(entry)
    rows: Iterable[list[str]] = (
        (_split(line, delimiter) for line in lines)
        if len(delimiter) > 1
        else csv.reader(lines, delimiter=delimiter)
    )
    try:
        for row in rows:
            if columns is None:
                columns = row
            elif row and row != [""]:
                yield dict(zip(columns, row, strict=False))
    except csv.Error as error:
        raise UserError(f"{entry} cannot be read as csv ({error})", "check --format") from None


def _json_rows(entry: Entry) -> Iterator[Row]:
    for number, line in enumerate(_lines(entry), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise UserError(f"{entry}: line {number} is not a JSON object", "check --format")
        yield value


def _sequence_rows(entry: Entry) -> Iterator[Row]:
    for number, line in enumerate(_lines(entry), 1):
        fields = line.rstrip("\r\n").replace("\t", " ").split(" ")
        if fields != [""] and len(fields) != 2:
            raise UserError(
                f"{entry}: line {number} holds {len(fields)} fields, not two",
                "check --format",
            )
        if fields != [""]:
            yield {"user_id": fields[0], "item_id": fields[1]}


def _parquet_rows(entry: Entry) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with recognise.opened(entry) as file:
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=SAMPLE):
                yield from batch.to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{entry} is not a whole parquet file ({reason})", "get it again, or check --format"
            ) from None


def require_columns(entry: Entry, rows: list[Row], wanted: dict[str, str]) -> None:
    """UserError when a column is missing. `wanted`: the option that names it, by column."""
    there = dict.fromkeys(itertools.chain.from_iterable(rows))
    for column, option in wanted.items():
        if column not in there:
            raise UserError(
                f"{entry} has no column '{column}'",
                f"its columns are {', '.join(map(str, there))}: name the right one with {option}",
            )


def time_unit(entry: Entry, rows: list[Row], column: str) -> TimeUnit:
    """The unit of the times in `column`, by their size: seconds up to the year 5138.

    The next thousandfold is milliseconds, and so on. Times of a date type count as ISO 8601.
    Raises UserError when the column holds nothing that could be a time.
    """
    values = [row[column] for row in rows if row.get(column) not in (None, "")]
    numbers = [number for value in values if (number := _as_number(value)) is not None]
    if len(numbers) * 2 > len(values):
        return _unit_of(statistics.median(abs(number) for number in numbers))
    if sum(_is_iso(value) for value in values) * 2 > len(values):
        return "iso"
    seen = f"it begins with '{values[0]}'" if values else "its first rows are empty"
    raise UserError(
        f"the times in column '{column}' of {entry} are neither numbers nor ISO 8601 ({seen})",
        "name another column with --time-column, or convert it",
    )


def _as_number(value: Any) -> float | None:
    if isinstance(value, datetime):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < float("inf") else None


def _unit_of(size: float) -> TimeUnit:
    units = ("s", "ms", "us", "ns")
    return cast(TimeUnit, units[sum(size >= limit for limit in (1e11, 1e14, 1e17))])


def _is_iso(value: Any) -> bool:
    try:
        datetime.fromisoformat(str(value).strip())
    except ValueError:
        return False
    return True
