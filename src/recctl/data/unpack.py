"""Packed files, unpacked within limits: a few kilobytes may stand for terabytes."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from recctl import limits
from recctl.errors import UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def gunzip(file: IO[bytes], packed: int, name: object) -> io.BufferedReader:
    """What a gzip file holds, of which `packed` bytes are there; UserError beyond the limits."""
    return io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=file), packed, name), 2**20)


def open_gzip(path: Path) -> io.BufferedReader:
    """The same by the file's path."""
    return io.BufferedReader(_Bounded(gzip.open(path, "rb"), path.stat().st_size, path), 2**20)


def check(archive: zipfile.ZipFile, path: Path) -> None:
    """UserError where a zip archive claims to hold more than the limits allow.

    Python reads no more of a member than the archive claims.
    """
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > most(path.stat().st_size):
        raise _bomb(path, path.stat().st_size)


def most(packed: int) -> int:
    """Bytes that so many packed ones may stand for."""
    return min(max(packed * limits.UNPACK_RATIO, limits.UNPACK_FREE), limits.UNPACKED_BYTES)


def _bomb(name: object, packed: int) -> UserError:
    return UserError(
        f"{name} is unpacked to more than {most(packed):,} bytes from {packed:,}",
        "do not trust it, or unpack it yourself",
    )


class _Bounded(io.RawIOBase):
    """A gzip file that gives no more than it may."""

    def __init__(self, file: gzip.GzipFile, packed: int, name: object) -> None:
        self._file, self._packed, self._name = file, packed, name
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        given = self._file.readinto(buffer)
        self._given += given
        if self._given > most(self._packed):
            raise _bomb(self._name, self._packed)
        return given

    def close(self) -> None:
        self._file.close()
        super().close()
