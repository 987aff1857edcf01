"""The slow reader for text with bad lines: each bad line is set aside, all others are read.

DuckDB reads a file much faster and stops at the first line that it cannot split; this reader then
reads the file from the start. A test holds that both read good records alike. DuckDB's own
`store_rejects` (tried on 2.0.0) cannot take its place:

- An open quote loses more than its line: of 300,000 rows with one open quote in row 5, DuckDB
  returned the 5 before it and one reject, and reported none of the others.
- A row's number is that of its record, empty lines not counted; a reject has the number of its
  line, empty lines counted, and good rows have no number to count them by.
- A reject holds `?` for each byte that is not UTF-8; quarantine keeps the bytes.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from recctl import limits
from recctl.data.plain import CUT, bare, lines, whole_lines
from recctl.errors import UserError, option

Record = list[str | None] | None
"""The fields of a record, None for an empty one; None instead of a list for a bad line."""

LONGEST_RECORD = 20
"""Lines that a record with line breaks in quotes may have; a quote open for longer is a mistake."""


@dataclass(frozen=True)
class Shape:
    """The layout of a delimited text file."""

    delimiter: str
    names: tuple[str, ...]
    """The columns' names."""
    header: bool = True
    """Whether the first line holds the names."""

    @property
    def quoted(self) -> bool:
        """Whether fields may be in double quotes: not where the delimiter is like `::`."""
        return len(self.delimiter) == 1 and self.delimiter != " "


def fault(text: bytes) -> str:
    """Why a line could not be split: a cause of interactions.CAUSES."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return "bad-line" if text.endswith(CUT) else "bad-encoding"
    return "bad-line"


def header(path: Path, delimiter: str) -> tuple[str, ...]:
    """The column names in the first line; UserError when there is no such line."""
    line = next(lines(path), None)
    if line is None:
        raise UserError(f"{path} is empty", "give a file with interactions")
    names = split(line, Shape(delimiter, ()))
    if names is not None:
        return tuple((name or "").strip() for name in names)
    if line.endswith(CUT):
        raise UserError(
            f"the first line of {path} has more than {limits.LINE:,} bytes",
            "give a file with one interaction per line",
        )
    raise UserError(
        f"{path} is not UTF-8 text (its first line)",
        f"name its encoding {option('encoding')}, such as latin-1 or cp1252",
    )


def delimited(path: Path, shape: Shape) -> Iterator[tuple[Record, bytes]]:
    """Each record of a delimited file, and its text; empty lines do not count."""
    source = whole_lines(path)
    if shape.header:
        next(source, None)
    ahead: deque[bytes] = deque()
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        text = bare(line)
        record = _record(text, shape)
        if record is None and _open_quote(text, shape):
            record, text = _joined(line, ahead, source, shape)
        if text:
            yield record, text


def _open_quote(text: bytes, shape: Shape) -> bool:
    return shape.quoted and text.count(b'"') % 2 == 1


def _joined(
    line: bytes, ahead: deque[bytes], source: Iterator[bytes], shape: Shape
) -> tuple[Record, bytes]:
    """The record that begins in a line and ends in a later one, line breaks as they are.

    If there is none, the line alone is bad; the lines read after it stay in `ahead`.
    """
    whole = line
    for used in range(1, LONGEST_RECORD):
        if len(ahead) < used:
            ahead.extend(islice(source, 1))
        if len(ahead) < used:
            break
        whole += ahead[used - 1]
        if _open_quote(whole, shape):
            continue
        record = _record(bare(whole), shape)
        if record is None:
            break
        for _ in range(used):
            ahead.popleft()
        return record, bare(whole)
    return None, bare(line)


def _record(text: bytes, shape: Shape) -> Record:
    """The fields if there is one per column; one more, empty field at the end is ignored."""
    fields = split(text, shape)
    if fields is not None and len(fields) == len(shape.names) + 1 and fields[-1] is None:
        fields.pop()
    return fields if fields is not None and len(fields) == len(shape.names) else None


def split(line: bytes, shape: Shape) -> Record:
    """The fields of a line; None if it is not UTF-8 or a quote is open."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    if not (shape.quoted and '"' in text):
        return [field or None for field in text.split(shape.delimiter)]
    return _quoted_fields(text, _field(shape.delimiter))


@cache
def _field(delimiter: str) -> re.Pattern[str]:
    """One field and its end: in quotes, perhaps with spaces around them, or plain."""
    end = re.escape(delimiter)
    quoted = r' *"(?P<quoted>(?:[^"]|"")*)" *'
    plain = rf'(?! *")(?P<plain>[^{end}\n]*)'
    return re.compile(rf"(?:{quoted}|{plain})(?P<end>{end}|\Z)")


def _quoted_fields(text: str, field: re.Pattern[str]) -> Record:
    fields: list[str | None] = []
    place = 0
    while (match := field.match(text, place)) is not None:
        quoted = match["quoted"]
        value = match["plain"] if quoted is None else quoted.replace('""', '"')
        fields.append(value or None)
        if not match["end"]:
            return fields
        place = match.end()
    return None


def json_lines(path: Path, names: tuple[str, ...]) -> Iterator[tuple[Record, bytes]]:
    """The named values of each JSON object in a file of one per line, and the line."""
    for line in lines(path):
        if line.strip():
            yield _values(line, names), line


def json_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object in a line; None if it holds none."""
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError):  # ValueError also for a number of too many digits
        return None
    return content if isinstance(content, dict) else None


def _values(line: bytes, names: tuple[str, ...]) -> Record:
    content = json_object(line)
    if content is None:
        return None
    values = [content.get(name) for name in names]
    if any(isinstance(value, list | dict) for value in values[:2]):  # not an id
        return None
    return [_text(value) for value in values]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        # No table can hold a lone surrogate.
        return value and value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
