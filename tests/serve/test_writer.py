"""Rows that wait together are written together; an error reaches who waits and is said once."""

import asyncio
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recctl.journal import Journal, Row
from recctl.serve import writer
from recctl.serve.batches import Overloaded
from recctl.serve.writer import NotKept, Writer, running


class Watched(Writer):
    """Writes when a test lets it; notes the groups that it writes together."""

    def __init__(self, folder: Path, most: int = 10) -> None:
        self.said: list[str] = []
        journal = Journal(folder / "rows", lambda rows: pa.table({"n": [row[0] for row in rows]}))
        super().__init__(journal, most, self.said.append)
        self.together: list[list[list[Row]]] = []
        self.began, self.go = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def write(self, groups: list[list[Row]]) -> None:
        self.began.set()
        assert self.go.wait(30)
        if self.error is not None:
            raise self.error
        self.together.append(groups)
        super().write(groups)

    @property
    def whole(self) -> list[int]:
        """The rows in whole files."""
        return [n for path in self.journal.files() for n in pq.read_table(path)["n"].to_pylist()]


def test_what_waits_is_written_together_and_nothing_is_lost_at_the_end(tmp_path: Path) -> None:
    rows = Watched(tmp_path)

    async def work() -> None:
        async with running(rows):
            first = rows.put([[1]], 1)
            rows.soon()
            await asyncio.to_thread(rows.began.wait, 30)
            later = [rows.put([[2], [3]], 2), rows.put([[4]], 8)]
            with pytest.raises(Overloaded):
                rows.put([[5]], 1)
            left = later[1]
            left.cancel()  # its client has left: the row is written all the same
            assert not first.done()
            rows.soon()
            rows.go.set()
            await first
            await later[0]
            rows.put([[6]], 1)

    asyncio.run(work())
    assert rows.together == [[[[1]]], [[[2], [3]], [[4]]], [[[6]]]]
    assert rows.whole == [1, 2, 3, 4, 6]


def test_what_is_given_while_it_ends_is_written(tmp_path: Path) -> None:
    rows = Watched(tmp_path)

    async def work() -> None:
        async with running(rows):
            rows.put([[1]], 1)
            rows.soon()
            await asyncio.to_thread(rows.began.wait, 30)
            rows.end()
            rows.put([[2]], 1)
            rows.go.set()

    asyncio.run(work())
    assert rows.whole == [1, 2]


def test_an_error_reaches_those_who_wait_and_passes(tmp_path: Path) -> None:
    rows = Watched(tmp_path)
    rows.go.set()

    async def put(row: int) -> None:
        written = rows.put([[row]], 1)
        rows.soon()
        await written

    async def work() -> None:
        async with running(rows):
            for error, text in (
                (OSError(28, "No space left on device"), "No space left on device"),
                (OSError(28, "No space left on device"), "No space left on device"),
                (KeyError("a defect"), "KeyError('a defect')"),
            ):
                rows.error = error
                with pytest.raises(NotKept):
                    await put(1)
                assert rows.problem == f"rows cannot be written: {text}"
            rows.error = None
            await put(2)
            assert rows.problem is None

    asyncio.run(work())
    assert len(rows.said) == 2
    assert rows.whole == [2]


def test_files_are_finished_by_number_by_age_and_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ROWS", 3)
    former = Watched(tmp_path)
    former.go.set()
    former.write([[[0]]])  # and killed

    async def work() -> None:
        rows = Watched(tmp_path)
        rows.go.set()
        await rows.step()
        assert rows.whole == [0]
        rows.put([[1], [2]], 1)
        await rows.step()
        await rows.step()
        assert rows.whole == [0]
        rows.put([[3]], 1)
        await rows.step()
        await rows.step()
        assert rows.whole == [0, 1, 2, 3]
        rows.put([[4]], 1)
        await rows.step()
        monkeypatch.setattr(writer, "FINISHED", 0.0)
        await rows.step()
        assert rows.whole == [0, 1, 2, 3, 4]

    asyncio.run(work())
