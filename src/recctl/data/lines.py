"""The careful reader: line by line, so that a bad line costs itself only and is told apart.

DuckDB reads whole files much faster and stops at the first line it cannot take apart; then this
reader does the work. Both agree on what a good record is; a test holds them to it.
"""

import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from recctl import limits
from recctl.data import unpack
from recctl.errors import UserError

Record = list[str | None] | None
"""The fields of a record, None for an empty one; None altogether for a bad line."""

LONGEST_RECORD = 20
"""A quoted field may hold line breaks; a quote still open after so many lines is a mistake."""


@dataclass(frozen=True)
class Shape:
    """How a delimited text file is laid out."""

    delimiter: str
    names: tuple[str, ...]
    """Of the columns."""
    header: bool = True
    """Whether the first line holds the names."""

    @property
    def quoted(self) -> bool:
        """Whether fields may stand in double quotes: not where the delimiter is like `::`."""
        return len(self.delimiter) == 1 and self.delimiter != " "


def is_gzip(path: Path) -> bool:
    """Whether the file's first bytes are those of gzip, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain or gzip file without their ends and without a byte order mark.

    Raises UserError when the compressed file is damaged.
    """
    return map(_bare, _whole_lines(path))


def _bare(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The same with their ends."""
    try:
        with _open(path) as file:
            for number, line in enumerate(_bounded(file)):
                yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, str(error)) from None


def _bounded(file: BinaryIO | io.BufferedReader) -> Iterator[bytes]:
    """The lines; of one beyond limits.LINE its beginning, which the byte FF makes a bad line."""
    while line := file.readline(limits.LINE + 1):
        if len(line) > limits.LINE and not line.endswith(b"\n"):
            line = line[:_KEPT] + _CUT + b"\n"
            while (more := file.readline(2**20)) and not more.endswith(b"\n"):
                pass
        yield line


_CUT = b"\xff ... (a line of more than %d bytes)" % limits.LINE
_KEPT = 1_000
"""Bytes that quarantine keeps of a line that is too long."""


def too_long(path: Path) -> bool:
    """Whether any line is beyond limits.LINE: DuckDB stops at one, or loses it without a word."""
    if not is_gzip(path) and path.stat().st_size <= limits.LINE:
        return False
    since = 0  # bytes since the last line break
    try:
        with _open(path) as file:
            while chunk := file.read(min(2**20, limits.LINE)):  # no line in a chunk is too long
                place = chunk.rfind(b"\n")
                if since + (chunk.find(b"\n") if place >= 0 else len(chunk)) > limits.LINE:
                    return True
                since = len(chunk) - place - 1 if place >= 0 else since + len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, str(error)) from None
    return False


def _open(path: Path) -> BinaryIO | io.BufferedReader:
    return unpack.open_gzip(path) if is_gzip(path) else path.open("rb")


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file that cannot be read to its end."""
    return UserError(f"{path} cannot be read ({reason})", "get the file again, it is damaged")


def header(path: Path, delimiter: str) -> tuple[str, ...]:
    """The column names in the first line; UserError when there is no such line."""
    shape = Shape(delimiter, ())
    for line in lines(path):
        names = _fields(line, shape)
        if names is None:
            if line.endswith(_CUT):
                what = f"the first line of {path} has more than {limits.LINE:,} bytes"
                raise UserError(what, "give a file with one interaction per line")
            raise UserError(f"the first line of {path} is not UTF-8 text", "convert the file")
        return tuple((name or "").strip() for name in names)
    raise UserError(f"{path} is empty", "give a file with interactions")


def delimited(path: Path, shape: Shape) -> Iterator[tuple[Record, bytes]]:
    """Each record of a delimited file, and its text; empty lines do not count."""
    source = _whole_lines(path)
    if shape.header:
        next(source, None)
    ahead: deque[bytes] = deque()
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        text = _bare(line)
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
    """The record that begins in a line and ends in a later one; a bad line where there is none.

    The line breaks in it stay as they are.
    """
    whole = line
    for used in range(1, LONGEST_RECORD):
        if len(ahead) < used:
            ahead.extend(islice(source, 1))
        if len(ahead) < used:
            break
        whole += ahead[used - 1]
        text = _bare(whole)
        if _open_quote(text, shape):
            continue
        record = _record(text, shape)
        if record is not None:
            for _ in range(used):
                ahead.popleft()
            return record, text
        break
    return None, _bare(line)


def _record(text: bytes, shape: Shape) -> Record:
    """The fields if they are as many as there are columns; one empty field more is let pass."""
    fields = _fields(text, shape)
    if fields is not None and len(fields) == len(shape.names) + 1 and fields[-1] is None:
        fields.pop()
    return fields if fields is not None and len(fields) == len(shape.names) else None


def _fields(line: bytes, shape: Shape) -> Record:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return None
    if not (shape.quoted and '"' in text):
        return [field or None for field in text.split(shape.delimiter)]
    return _quoted_fields(text, _field(shape.delimiter))


@cache
def _field(delimiter: str) -> re.Pattern[str]:
    """One field and what ends it: in quotes, perhaps with spaces round them, or plain."""
    end = re.escape(delimiter)
    quoted = r' *"(?P<quoted>(?:[^"]|"")*)" *'
    plain = rf'(?! *")(?P<plain>[^{end}\n]*)'
    return re.compile(rf"(?:{quoted}|{plain})(?P<end>{end}|\Z)")


def _quoted_fields(text: str, field: re.Pattern[str]) -> Record:
    fields: list[str | None] = []
    place = 0
    while (found := field.match(text, place)) is not None:
        quoted = found["quoted"]
        value = found["plain"] if quoted is None else quoted.replace('""', '"')
        fields.append(value or None)
        if not found["end"]:
            return fields
        place = found.end()
    return None


def json_lines(path: Path, names: tuple[str, ...]) -> Iterator[tuple[Record, bytes]]:
    """The named values of each JSON object in a file of one per line, and the line."""
    for line in lines(path):
        if line.strip():
            yield _values(line, names), line


def json_keys(line: bytes) -> list[str]:
    """The keys of the JSON object in a line, none if it holds no such thing."""
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError):  # also of a number of too many digits
        return []
    return list(content) if isinstance(content, dict) else []


def _values(line: bytes, names: tuple[str, ...]) -> Record:
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError):  # also of a number of too many digits
        return None
    return [_text(content.get(name)) for name in names] if isinstance(content, dict) else None


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        # A lone surrogate is no text: no table can hold it.
        return value and value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
