"""Compressed files, unpacked within limits: a few kilobytes may unpack to terabytes."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from recctl import limits
from recctl.errors import UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


_MARKS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz"}


def packing(start: bytes) -> str | None:
    """How a file that begins with these bytes is compressed; None for one that is not."""
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)


def unpacked(file: IO[bytes], packed: int, name: object) -> IO[bytes]:
    """A file's content, decompressed as its first bytes say; UserError above the limits."""
    kind = packing(file.read(6))
    file.seek(0)
    if kind is None:
        return file
    if kind == "zstd":
        import pyarrow as pa

        content: Any = pa.input_stream(file, compression="zstd")
    else:
        readers: dict[str, Any] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
        content = readers[kind](file)
    return io.BufferedReader(_Bounded(content, packed, name), 2**20)


def read_through(path: Path) -> None:
    """Read a file to its end, which raises the decompressor's error where it is damaged."""
    with path.open("rb") as file:
        content = unpacked(file, path.stat().st_size, path)
        while content.read(2**20):
            pass


def check(archive: zipfile.ZipFile, path: Path) -> None:
    """UserError where a zip archive claims to hold more than the limits allow.

    Python reads no more of a member than the archive claims.
    """
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > most(path.stat().st_size):
        raise _bomb(path, path.stat().st_size)


def most(packed: int) -> int:
    """Bytes to which so many compressed ones may unpack."""
    return min(max(packed * limits.UNPACK_RATIO, limits.UNPACK_FREE), limits.UNPACKED_BYTES)


def _bomb(name: object, packed: int) -> UserError:
    return UserError(
        f"{name} unpacks to more than {most(packed):,} bytes from {packed:,}",
        "do not use it, or unpack it yourself",
    )


class _Bounded(io.RawIOBase):
    """An unpacked file that ends in a UserError above the limit."""

    def __init__(self, file: Any, packed: int, name: object) -> None:
        self._file, self._packed, self._name = file, packed, name
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        count = int(self._file.readinto(buffer))
        self._read += count
        if self._read > most(self._packed):
            raise _bomb(self._name, self._packed)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
