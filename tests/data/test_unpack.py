"""Packed files that stand for far more than they are."""

import gzip
import zipfile
from pathlib import Path

import pytest

from recctl import limits
from recctl.data import plain, unpack
from recctl.datasets import recognise
from recctl.errors import UserError

ROWS = b"u1,i1,1\n" * 20_000  # 160,000 bytes, a thousand or so packed


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACK_FREE", 1000)


def zipped(path: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("log.csv", content)
    return path


def test_a_gzip_beyond_the_ratio_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(ROWS))
    ratio = len(ROWS) // path.stat().st_size
    monkeypatch.setattr(limits, "UNPACK_RATIO", ratio + 1)
    assert sum(1 for _ in plain.lines(path)) == 20_000
    monkeypatch.setattr(limits, "UNPACK_RATIO", ratio)
    for read in (lambda: list(plain.lines(path)), lambda: plain.too_long(path)):
        with pytest.raises(UserError, match="unpacks to more than"):
            read()
    [entry] = recognise.entries(path)
    with (
        pytest.raises(UserError, match="unpacks to more than"),
        recognise.opened(entry) as file,
    ):
        file.read()


def test_a_zip_beyond_the_ratio_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "log.zip", ROWS)
    ratio = len(ROWS) // path.stat().st_size
    monkeypatch.setattr(limits, "UNPACK_RATIO", ratio + 1)
    assert [entry.size for entry in recognise.entries(path)] == [len(ROWS)]
    monkeypatch.setattr(limits, "UNPACK_RATIO", ratio)
    with pytest.raises(UserError, match="unpacks to more than"):
        recognise.entries(path)


def test_a_gzip_in_a_zip_is_bounded_by_its_own_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNPACK_RATIO", 10)
    [entry] = recognise.entries(zipped(tmp_path / "a.zip", gzip.compress(ROWS), zipfile.ZIP_STORED))
    with (
        pytest.raises(UserError, match="unpacks to more than"),
        recognise.opened(entry) as file,
    ):
        file.read()


def test_what_may_stand_for_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unpack.most(1) == 1000
    assert unpack.most(1000) == 1000 * limits.UNPACK_RATIO
    monkeypatch.setattr(limits, "UNPACKED_BYTES", 50_000)
    assert unpack.most(1000) == 50_000
