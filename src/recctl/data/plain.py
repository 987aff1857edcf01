"""Files of any encoding, compression and line ends as the plain files that the readers take."""

import codecs
import io
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recctl import limits
from recctl.data import unpack
from recctl.errors import UserError, option

PARQUET = b"PAR1"
_MARKS = {  # utf-32 first: its mark begins like that of utf-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
_HEAD = 2**16
"""Bytes from which encoding and line ends are inferred."""
_EXCEL = re.compile(r'\ufeff?"?sep=.?"?[\t,;|]*(?:\r\n?|\n)', re.IGNORECASE)
"""The line in which Excel names the separator."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of reading a file into a UserError that names it."""
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
        raise damaged(path, str(error)) from None  # raised by a decompressor


@contextmanager
def called(names: Mapping[Path, str]) -> Iterator[None]:
    """Let a UserError name files as the user does, by their paths here."""
    try:
        yield
    except UserError as error:
        for path, name in names.items():
            error.rename(str(path), name)
        raise


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file that cannot be read to its end."""
    text = " ".join(reason.split())
    return UserError(f"{path} is damaged or incomplete ({text})", "get the file again")


def readable(path: Path, encoding: str | None, scratch: Path) -> Path:
    """The file itself if the readers take it as it is, else a converted copy in `scratch`.

    They take parquet, and UTF-8 text with line feeds, uncompressed or gzip. `encoding` is that of
    other text. Raises UserError when the file is damaged or is not text in its encoding.
    """
    with reading(path), path.open("rb") as file:
        packed = unpack.packing(file.read(6))
        file.seek(0)
        start = _content(file, path).read(_HEAD)  # which may close the file
        if start.startswith(PARQUET):
            return path if packed is None else _copied(path, scratch)
        codec = codec_of(start, encoding)
        utf8 = codec == "utf-8"
        # latin-1 keeps every byte: what is not UTF-8 stays in its line
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
                f"{path} is not text in {codec} ({reason})",
                f"name its encoding {option('encoding')}",
            ) from None


def codec_of(start: bytes, encoding: str | None) -> str:
    """The codec of a text that begins with these bytes: that of its mark, or else the given one."""
    mark = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
    return codecs.lookup(mark or encoding or "utf-8").name


def _content(file: IO[bytes], path: Path) -> IO[bytes]:
    return unpack.unpacked(file, path.stat().st_size, path)


def _copied(path: Path, scratch: Path) -> Path:
    target = _free(scratch)
    with path.open("rb") as file, target.open("wb") as out:
        shutil.copyfileobj(_content(file, path), out, 2**20)
    return target


def _decoded(path: Path, encodings: tuple[str, str], mac: bool, excel: bool, scratch: Path) -> Path:
    """A copy in the second of two encodings, with line feeds and without Excel's line."""
    new = _free(scratch)
    with (
        path.open("rb") as file,
        io.TextIOWrapper(_content(file, path), encodings[0], newline=None if mac else "") as source,
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
    """The lines of a plain or gzip file without their ends; otherwise as `whole_lines`."""
    return map(bare, whole_lines(path))


def bare(line: bytes) -> bytes:
    """A line without its end."""
    return line.rstrip(b"\r\n")


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain or gzip file with their ends, without a byte order mark.

    Of a line over limits.LINE only its beginning, followed by CUT, whose byte FF makes it a bad
    line. Raises UserError when the compressed file is damaged.
    """
    with reading(path), path.open("rb") as raw:
        file = _content(raw, path)
        first = True
        while line := file.readline(limits.LINE + 1):
            if len(line) > limits.LINE and not line.endswith(b"\n"):
                line = line[:_KEPT] + CUT + b"\n"
                while (more := file.readline(2**20)) and not more.endswith(b"\n"):
                    pass
            yield line.removeprefix(codecs.BOM_UTF8) if first else line
            first = False


CUT = b"\xff ... (a line of more than %d bytes)" % limits.LINE
_KEPT = 1_000
"""Bytes that quarantine keeps of a line that is too long."""


def too_long(path: Path) -> bool:
    """Whether any line is over limits.LINE: DuckDB fails on one, or silently drops it."""
    if not is_gzip(path) and path.stat().st_size <= limits.LINE:
        return False
    since = 0  # bytes since the last line break
    with reading(path), path.open("rb") as raw:
        file = _content(raw, path)
        while chunk := file.read(min(2**20, limits.LINE)):  # no line within a chunk is too long
            place = chunk.rfind(b"\n")
            if since + (chunk.find(b"\n") if place >= 0 else len(chunk)) > limits.LINE:
                return True
            since = len(chunk) - place - 1 if place >= 0 else since + len(chunk)
    return False
