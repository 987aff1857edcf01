"""Arrays on disk that are written and read in parts: memory does not grow with the log."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

PART = 2_000_000
"""Interactions that are in memory at a time; all of a user who has more."""


def mapped(file: IO[bytes], dtype: DTypeLike) -> NDArray[Any]:
    """What was written to a file as an array; it stays when the file is closed or deleted."""
    file.flush()
    return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)


def part(array: NDArray[Any], rows: slice) -> NDArray[Any]:
    """A copy of some rows; pages of a mapped array do not stay in this process's memory."""
    copy = np.array(array[rows])
    if isinstance(array.base, mmap.mmap):
        array.base.madvise(mmap.MADV_DONTNEED)
    return copy


def slices(size: int) -> Iterator[slice]:
    """The rows of an array, PART at a time."""
    for first in range(0, size, PART):
        yield slice(first, min(first + PART, size))


def by_users(offsets: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Users and their rows: as many users as have PART rows together, or one.

    >>> list(by_users(np.array([0, 2, 2, 5])))
    [(slice(0, 3, None), slice(0, 5, None))]
    """
    first, users = 0, len(offsets) - 1
    while first < users:
        fitting = int(np.searchsorted(offsets, offsets[first] + PART, "right")) - 1
        last = max(first + 1, fitting)
        yield slice(first, last), slice(int(offsets[first]), int(offsets[last]))
        first = last


def gather(array: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """The values at some places, which ascend.

    >>> gather(np.array([7, 8, 9]), np.array([0, 2]))
    array([7, 9])
    """
    found = np.empty(len(places), array.dtype)
    for rows in slices(len(array)):
        first, last = np.searchsorted(places, (rows.start, rows.stop))
        found[first:last] = part(array, rows)[places[first:last] - rows.start]
    return found


def save(path: Path, array: NDArray[Any]) -> None:
    """np.save, but a full disk raises an OSError with its errno."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        for rows in slices(len(array)):
            file.write(part(array, rows).data)
