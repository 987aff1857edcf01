"""The careful reader: line by line, so that a bad line costs itself only and is told apart.

DuckDB reads whole files much faster and stops at the first line it cannot take apart; then this
reader does the work. Both agree on what a good record is; a test holds them to it.
"""

import codecs
import io
import json
import lzma
import re
import shutil
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import IO

from recctl import limits
from recctl.data import unpack
from recctl.errors import UserError, option

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


PARQUET = b"PAR1"
_MARKS = {  # utf-32 first: its mark begins like that of utf-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
_HEAD = 2**16
"""Bytes that tell a text's encoding and line ends."""
_EXCEL = re.compile(r'\ufeff?"?sep=.?"?[\t,;|]*(?:\r\n?|\n)', re.IGNORECASE)
"""The line in which Excel tells the separator."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong in reading a file into a UserError that names it."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise UserError(f"no file or folder {path}", "give the path of an existing one") from None
    except PermissionError:
        raise UserError(f"{path} may not be read", "change its permissions") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowInvalid) as error:
        raise damaged(path, str(error) or type(error).__name__) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise damaged(path, str(error)) from None  # of what unpacks


def plain(path: Path, encoding: str | None, scratch: Path) -> Path:
    """The file as DuckDB and the careful reader take it; a new file in `scratch` where it is not.

    They take parquet, and text in UTF-8 with line feeds, plain or gzip; `encoding` is that of
    another text. Raises UserError when the file is damaged or no text in its encoding.
    """
    with reading(path), path.open("rb") as file:
        packed = unpack.packing(file.read(6))
        file.seek(0)
        start = _content(file, path).read(_HEAD)  # which may close the file
        if start.startswith(PARQUET):
            return path if packed is None else _copied(path, scratch)
        codec = marked(start) or encoding or "utf-8"
        utf8 = codecs.lookup(codec).name == "utf-8"
        # latin-1 gives every byte back: what is no UTF-8 stays in its line
        source, target = ("latin-1", "latin-1") if utf8 else (codec, "utf-8")
        head = codecs.getincrementaldecoder(source)(errors="replace").decode(start)
        end = re.search(r"\r\n?|\n", head)
        mac = end is not None and end[0] == "\r" and end.end() < len(head)
        excel = _EXCEL.match(head.removeprefix("\xef\xbb\xbf")) is not None
        if utf8 and packed in (None, "gzip") and not mac and not excel:
            return path
        try:
            return _decoded(path, (source, target), mac, excel, scratch)
        except UnicodeError as error:
            reason = getattr(error, "reason", str(error))
            raise UserError(
                f"{path} is no text in {codec} ({reason})",
                f"name its encoding {option('encoding')}",
            ) from None


def _content(file: IO[bytes], path: Path) -> IO[bytes]:
    return unpack.unpacked(file, path.stat().st_size, path)


def marked(start: bytes) -> str | None:
    """The encoding that a text's byte order mark tells; None without one."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)


def _copied(path: Path, scratch: Path) -> Path:
    target = _free(scratch)
    with path.open("rb") as file, target.open("wb") as out:
        shutil.copyfileobj(_content(file, path), out, 2**20)
    return target


def _decoded(path: Path, encodings: tuple[str, str], mac: bool, excel: bool, scratch: Path) -> Path:
    """The text written in the second of two encodings, its line ends and first line put right."""
    new = _free(scratch)
    with (
        path.open("rb") as file,
        io.TextIOWrapper(
            _content(file, path),
            encodings[0],
            newline=None if mac else "",
        ) as source,
        new.open("w", encoding=encodings[1], newline="") as out,
    ):
        if excel:
            source.readline()
        shutil.copyfileobj(source, out, 2**20)
    return new


def _free(scratch: Path) -> Path:
    return scratch / f"plain-{sum(1 for _ in scratch.glob('plain-*'))}"


def is_gzip(path: Path) -> bool:
    """Whether the file's first bytes are those of gzip, whatever its name."""
    with path.open("rb") as file:
        return unpack.packing(file.read(6)) == "gzip"


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain or gzip file without their ends and without a byte order mark.

    Raises UserError when the compressed file is damaged.
    """
    return map(_bare, _whole_lines(path))


def _bare(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The same with their ends."""
    with reading(path), path.open("rb") as raw:
        for number, line in enumerate(_bounded(_content(raw, path))):
            yield line.removeprefix(codecs.BOM_UTF8) if number == 0 else line


def _bounded(file: IO[bytes]) -> Iterator[bytes]:
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
    with reading(path), path.open("rb") as raw:
        file = _content(raw, path)
        while chunk := file.read(min(2**20, limits.LINE)):  # no line in a chunk is too long
            place = chunk.rfind(b"\n")
            if since + (chunk.find(b"\n") if place >= 0 else len(chunk)) > limits.LINE:
                return True
            since = len(chunk) - place - 1 if place >= 0 else since + len(chunk)
    return False


def fault(text: bytes) -> str:
    """Why a line could not be taken apart: a cause of interactions.CAUSES."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return "bad-line" if text.endswith(_CUT) else "bad-encoding"
    return "bad-line"


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file that cannot be read to its end."""
    told = " ".join(reason.split())
    return UserError(f"{path} is damaged or incomplete ({told})", "get the file again")


def not_utf8(path: Path, where: str) -> UserError:
    """The error for a text that needs an encoding named."""
    return UserError(
        f"{path} is not UTF-8 text ({where})",
        f"name its encoding {option('encoding')}, such as latin-1 or cp1252",
    )


def header(path: Path, delimiter: str) -> tuple[str, ...]:
    """The column names in the first line; UserError when there is no such line."""
    shape = Shape(delimiter, ())
    for line in lines(path):
        names = split(line, shape)
        if names is None:
            if line.endswith(_CUT):
                what = f"the first line of {path} has more than {limits.LINE:,} bytes"
                raise UserError(what, "give a file with one interaction per line")
            raise not_utf8(path, "its first line")
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
    fields = split(text, shape)
    if fields is not None and len(fields) == len(shape.names) + 1 and fields[-1] is None:
        fields.pop()
    return fields if fields is not None and len(fields) == len(shape.names) else None


def split(line: bytes, shape: Shape) -> Record:
    """The fields of a line; None where it is no text or its quotes are not whole."""
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
    if not isinstance(content, dict):
        return None
    values = [content.get(name) for name in names]
    if any(isinstance(value, list | dict) for value in values[:2]):  # no id
        return None
    return [_text(value) for value in values]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        # A lone surrogate is no text: no table can hold it.
        return value and value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
