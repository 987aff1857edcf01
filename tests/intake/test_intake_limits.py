"""Files in a drop folder that are not whole, plain files of lines; watermarks at their limits."""

import gzip
import math
import os
import sqlite3
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import intake_cases as cases
import pytest
from intake_cases import drop, names, stored, take, text

from recctl import limits
from recctl.data import plain as files
from recctl.errors import UserError
from recctl.intake import sql
from recctl.intake.params import Sql
from recctl.layout import Layout


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("last", [False, True], ids=["among others", "last"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_line_that_is_too_long_is_a_bad_line(
    project: Layout, monkeypatch: pytest.MonkeyPatch, form: str, last: bool, packed: bool
) -> None:
    monkeypatch.setattr(limits, "LINE", 100)
    row = '{{"user_id":"{}","item_id":"{}","timestamp":{}}}'.format
    line = row if form == "jsonl" else "{},{},{}".format
    content = "" if form == "jsonl" else "user_id,item_id,timestamp\n"
    content += line("u8", "i1", 10) + "\n" + line("u9", "x" * 100, 11) + "\n"
    content += "" if last else line("u10", "i1", 12) + "\n"
    written = gzip.compress(content.encode()) if packed else content.encode()
    drop(project, f"a.{form}{'.gz' if packed else ''}", written)
    drop(project, "b.csv", text([("u20", "i1", 20)]))
    found = take(project)
    assert [one.bad for one in found.batches] == [{"bad-line": 1}, {}]
    users = ["u8", "u20"] if last else ["u8", "u10", "u20"]
    assert [user for user, _, _ in stored(project)] == users


def test_a_line_of_the_largest_size_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LINE", 100)
    path = tmp_path / "log.csv"
    for size, long in ((100, False), (101, True)):
        for end in (b"", b"\n"):
            path.write_bytes(b"a,b\n" * 50 + b"x" * size + end + (b"a,b\n" if end else b""))
            assert files.too_long(path) is long
            *_, found = [line for line in files.lines(path) if line != b"a,b"]
            assert (found == b"x" * size) is not long
            assert b"a line of more than" in found or not long


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=repr)
def test_a_row_without_its_end_is_waited_for(project: Layout, end: str) -> None:
    content = text([("u8", "i1", 10), ("u9", "i2", 11)]).rstrip("\n") + end
    drop(project, "a.csv", content, age=limits.SETTLED + 1)
    drop(project, "b.csv", text([("u20", "i1", 20)]))
    found = take(project)
    assert found.waiting == ([] if end else ["a.csv"])
    assert len(stored(project)) == (3 if end else 1)


def test_a_row_without_its_end_is_taken_in_the_end(project: Layout) -> None:
    content = text([("u8", "i1", 10)]).rstrip("\n")
    path = drop(project, "a.csv", content, age=limits.UNENDED - 30)
    assert take(project).waiting == ["a.csv"]
    os.utime(path, (path.stat().st_mtime - 60,) * 2)
    assert take(project).waiting == []
    assert stored(project) == [("u8", "i1", 10_000_000)]


def test_what_is_no_plain_file_is_refused_and_not_followed(project: Layout, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(text([("u99", "i9", 99)]))
    drop(project, "b.csv", text([("u20", "i1", 20)]))
    incoming = project.root / "incoming"
    (incoming / "a.csv").symlink_to(secret)
    (incoming / "dangling.csv").symlink_to(tmp_path / "nothing")
    os.mkfifo(incoming / "pipe.csv")
    (incoming / "subfolder").mkdir()
    found = take(project)
    assert dict(found.refused).keys() == {"a.csv", "dangling.csv", "pipe.csv"}
    assert "symbolic link" in dict(found.refused)["a.csv"]
    assert "pipe" in dict(found.refused)["pipe.csv"]
    assert [user for user, _, _ in stored(project)] == ["u20"]
    assert secret.exists()
    assert names(incoming) == ["refused", "subfolder", "taken"]
    assert (incoming / "refused" / "a.csv.txt").read_text().startswith("it is a symbolic link")
    assert take(project).refused == []


QUERY = "SELECT * FROM log WHERE mark >= :watermark"
SOURCE = {**cases.SHOP, "query": QUERY, "watermark": "mark"}


def database(project: Layout, marks: Iterable[Any], **more: Any) -> sqlite3.Connection:
    """A table with a row per watermark, and the source that reads it."""
    connection = sqlite3.connect(project.root / "shop.db")
    connection.execute("CREATE TABLE log (user_id, item_id, timestamp, mark)")
    for place, mark in enumerate(marks):
        connection.execute("INSERT INTO log VALUES (?, 'i1', 10, ?)", (f"u{place}", mark))
    connection.commit()
    cases.set_params(project.root, [{**SOURCE, **more}])
    return connection


@pytest.mark.parametrize(
    ("marks", "initial", "new"),
    [
        ([1, limits.WATERMARK], 0, 2),
        ([-(2**62), -1], -(2**62), 2),
        ([0.5, float(limits.WATERMARK)], 0, 2),
        (["-0044-03-15", "2020-01-01", "10000-01-01"], "2000-01-01", 1),
        (["x" * limits.WATERMARK_TEXT], "a", 1),
        ([None, 3], 0, 1),
    ],
    ids=repr,
)
def test_a_watermark_within_the_limits(
    project: Layout, marks: list[Any], initial: Any, new: int
) -> None:
    database(project, marks, initial=initial)
    assert take(project).new == new
    assert take(project).new == 0


@pytest.mark.parametrize(
    "mark",
    [limits.WATERMARK + 1, 2**63 - 1, math.inf, 1e308, "x" * (limits.WATERMARK_TEXT + 1), b"x"],
    ids=lambda mark: repr(mark)[:20],
)
def test_a_watermark_that_nothing_could_follow_is_refused(project: Layout, mark: Any) -> None:
    """Taken once it would keep all later rows out, without a word."""
    text_like = isinstance(mark, str | bytes)
    before = "a" if text_like else 1
    connection = database(project, [before, mark], initial="" if text_like else 0)
    with pytest.raises(UserError, match="watermark") as raised:
        take(project)
    assert len(str(raised.value)) < 400
    assert stored(project) == []
    connection.execute("DELETE FROM log WHERE mark = ?", (mark,))
    connection.commit()
    assert take(project).new == 1


@pytest.mark.parametrize(
    ("mark", "room"),
    [
        (Decimal("1e400"), False),
        (Decimal("NaN"), False),
        (Decimal(7), True),
        (math.nan, False),
        (-math.inf, False),
        (datetime(9999, 12, 31), False),
        (date(limits.WATERMARK_YEAR + 1, 1, 1), False),
        (datetime(limits.WATERMARK_YEAR, 12, 31, tzinfo=UTC), True),
    ],
    ids=repr,
)
def test_what_other_values_can_follow(mark: Any, room: bool) -> None:
    assert sql._leaves_room(mark) is room


def test_a_project_that_took_the_last_watermark_goes_on(project: Layout) -> None:
    """As one may have before there was a limit: it begins again, and known rows stay known."""
    database(project, [1, 2])
    source = Sql.model_validate(SOURCE)
    last = sql.encode(2**63 - 1)
    columns = ("user_id", "item_id", "timestamp")
    rows, mark = sql.fetch(source, columns, last, project.root, project.root / "rows.parquet")
    assert (rows, mark) == (2, sql.encode(2))


@pytest.mark.parametrize("initial", [2**62 + 1, -(2**63), "x" * 1001], ids=lambda v: str(v)[:8])
def test_an_initial_watermark_beyond_the_limits_is_refused(project: Layout, initial: Any) -> None:
    database(project, [1], initial=initial)
    with pytest.raises(UserError, match=r"'intake.sources.0.sql.initial'.*it should"):
        take(project)


def test_an_overlap_that_reaches_before_all_times(project: Layout) -> None:
    connection = database(project, ["0001-01-01T00:00:00"], initial="0", overlap=1e12)
    assert take(project).new == 1
    connection.execute("INSERT INTO log VALUES ('u7', 'i1', 10, '0001-01-01T00:00:01')")
    connection.commit()
    assert take(project).new == 1
