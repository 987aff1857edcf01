"""Arrays in parts are what numpy makes of the whole."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.sequences import disk

NUMBERS = np.arange(10, 20, dtype=np.int64)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "PART", 4)


@pytest.mark.parametrize("size", [0, 3, 8, 10])
def test_save_writes_what_numpy_writes(tmp_path: Path, size: int) -> None:
    disk.save(tmp_path / "ours.npy", NUMBERS[:size])
    np.save(tmp_path / "numpy.npy", NUMBERS[:size])
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_mapped_array_outlives_its_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(NUMBERS.data)
        array = disk.mapped(file, np.int64)
    assert disk.part(array, slice(2, 5)).tolist() == [12, 13, 14]
    assert array.tolist() == NUMBERS.tolist()  # also after its pages were given back
    assert disk.gather(array, np.array([0, 3, 4, 9])).tolist() == [10, 13, 14, 19]


def test_an_empty_file_is_an_empty_array() -> None:
    with tempfile.TemporaryFile() as file:
        assert disk.mapped(file, np.int32).tolist() == []


@given(st.lists(st.integers(0, 9), max_size=12))
def test_users_are_parted_without_a_gap(lengths: list[int]) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    users, rows = [0], [0]
    for some, theirs in disk.by_users(offsets):
        assert (some.start, theirs.start) == (users[-1], rows[-1])
        assert (offsets[some.start], offsets[some.stop]) == (theirs.start, theirs.stop)
        assert theirs.stop - theirs.start <= 4 or some.stop - some.start == 1
        users.append(some.stop)
        rows.append(theirs.stop)
    assert (users[-1], rows[-1]) == (len(lengths), offsets[-1])
