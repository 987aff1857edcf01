"""What may lie in a drop folder and is no whole, plain file of lines."""

import gzip
import os
from pathlib import Path

import intake_cases as cases
import pytest
from intake_cases import drop, names, plain, stored, take, text

from recctl import limits
from recctl.data import lines
from recctl.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    cases.without_dvc(monkeypatch)
    return plain(tmp_path / "project")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("last", [False, True], ids=["among others", "last"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_that_is_too_long_is_a_bad_line(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, form: str, last: bool, packed: bool
) -> None:
    monkeypatch.setattr(limits, "LINE", 100)
    row = '{{"user_id":"{}","item_id":"{}","timestamp":{}}}'.format
    line = row if form == "jsonl" else "{},{},{}".format
    content = "" if form == "jsonl" else "user_id,item_id,timestamp\n"
    content += line("u8", "i1", 10) + "\n" + line("u9", "x" * 100, 11) + "\n"
    content += "" if last else line("u10", "i1", 12) + "\n"
    written = gzip.compress(content.encode()) if packed else content.encode()
    drop(layout, f"a.{form}{'.gz' if packed else ''}", written)
    drop(layout, "b.csv", text([("u20", "i1", 20)]))
    found = take(layout)
    assert [one.bad for one in found.batches] == [{"bad-line": 1}, {}]
    users = ["u8", "u20"] if last else ["u8", "u10", "u20"]
    assert [user for user, _, _ in stored(layout)] == users


def test_a_line_of_the_largest_size_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINE", 100)
    path = tmp_path / "log.csv"
    for size, long in ((100, False), (101, True)):
        for end in (b"", b"\n"):
            path.write_bytes(b"a,b\n" * 50 + b"x" * size + end + (b"a,b\n" if end else b""))
            assert lines.too_long(path) is long
            *_, found = [line for line in lines.lines(path) if line != b"a,b"]
            assert (found == b"x" * size) is not long
            assert b"a line of more than" in found or not long


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=repr)
def test_a_row_without_its_end_is_waited_for(layout: Layout, end: str) -> None:
    content = text([("u8", "i1", 10), ("u9", "i2", 11)]).rstrip("\n") + end
    drop(layout, "a.csv", content, age=limits.SETTLED + 1)
    drop(layout, "b.csv", text([("u20", "i1", 20)]))
    found = take(layout)
    assert found.waiting == ([] if end else ["a.csv"])
    assert len(stored(layout)) == (3 if end else 1)


def test_a_row_without_its_end_is_taken_in_the_end(layout: Layout) -> None:
    content = text([("u8", "i1", 10)]).rstrip("\n")
    path = drop(layout, "a.csv", content, age=limits.UNENDED - 30)
    assert take(layout).waiting == ["a.csv"]
    os.utime(path, (path.stat().st_mtime - 60,) * 2)
    assert take(layout).waiting == []
    assert stored(layout) == [("u8", "i1", 10_000_000)]


def test_what_is_no_plain_file_is_refused_and_not_followed(layout: Layout, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(text([("u99", "i9", 99)]))
    drop(layout, "b.csv", text([("u20", "i1", 20)]))
    incoming = layout.root / "incoming"
    (incoming / "a.csv").symlink_to(secret)
    (incoming / "dangling.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(incoming / "pipe.csv")
    (incoming / "subfolder").mkdir()
    found = take(layout)
    assert dict(found.refused).keys() == {"a.csv", "dangling.csv", "pipe.csv"}
    assert "symbolic link" in dict(found.refused)["a.csv"]
    assert "pipe" in dict(found.refused)["pipe.csv"]
    assert [user for user, _, _ in stored(layout)] == ["u20"]
    assert secret.exists()
    assert names(incoming) == ["refused", "subfolder", "taken"]
    assert (incoming / "refused" / "a.csv.txt").read_text().startswith("it is a symbolic link")
    assert take(layout).refused == []
