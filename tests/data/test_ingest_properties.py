"""What holds for every log: no row is lost, and both readers see the same."""

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ingest_cases import kept, project, run, set_aside

from recctl.data import columns, csv_fallback, engine, formats
from recctl.data.params import IngestParams

QUICK = settings(max_examples=40, deadline=None)

ids = st.sampled_from(["", " ", "a", "b", "c", "a b", 'say "x"', "é", "two\nlines"])
times = st.sampled_from(["", "1", "2", "2.0", "2.5", "-3", "NaN", "inf", "soon", "9" * 30])
weights = st.sampled_from(["", "1", "1.0", "2", "0.5", "heavy", "nan"])
rows = st.lists(st.tuples(ids, ids, times, weights), min_size=1, max_size=30)
good = ("u", "i", "1", "1")


def text(table: list[tuple[str, str, str, str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([("user_id", "item_id", "timestamp", "rating"), *table])
    return file.getvalue()


def number(value: str) -> float | None:
    """As ingest reads a time or weight: finite numbers only."""
    try:
        found = float(value)
    except ValueError:
        return None
    return found if abs(found) < 10**12 else None


def oracle(table: list[tuple[str, str, str, str]]) -> tuple[list[Any], list[tuple[int, str]]]:
    """What ingest should make of a table, row by row in plain Python; the minimum weight is 1."""
    good_rows, bad_rows, seen = [], [], set()
    for row, (user, item, time, weight) in enumerate(table):
        faults = {
            "no-user": not user.strip(),
            "no-item": not item.strip(),
            "no-time": not time.strip(),
            "bad-time": number(time) is None,
            "bad-weight": number(weight) is None,
            "low-weight": (number(weight) or 0) < 1,
            "duplicate": (user, item, number(time), number(weight)) in seen,
        }
        cause = next((name for name, present in faults.items() if present), None)
        if cause:
            bad_rows.append((row, cause))
        else:
            seen.add((user, item, number(time), number(weight)))
            microseconds = int((number(time) or 0) * 10**6)
            good_rows.append((user, item, microseconds, number(weight), row))
    return sorted(good_rows, key=lambda r: (r[0].encode(), r[2], r[4])), bad_rows


@QUICK
@given(rows)
def test_no_row_is_lost_and_each_fault_is_named(table: list[tuple[str, str, str, str]]) -> None:
    table = [good, *table]
    with TemporaryDirectory() as folder:
        layout = run(
            Path(folder), {"log.csv": text(table)}, weight_column="rating", minimum_weight=1.0
        )
        expected_good, expected_bad = oracle(table)
        assert kept(layout) == expected_good
        assert set_aside(layout) == expected_bad
        assert len(kept(layout)) + len(set_aside(layout)) == len(table)


noise = st.lists(
    st.one_of(
        st.sampled_from(
            ["a,x,1,1", '"a","x",1,1', 'a,"x\ny",1,1', 'a, "x",1,1', "", 'a,"x ""q""" ,1,1', ",,,"]
        ),
        st.text(alphabet='ax1,"; \té', max_size=12),
    ),
    max_size=12,
)


@QUICK
@given(noise, st.sampled_from(["\n", "\r\n"]))
@example(['"a', 'b",x,1,1'], "\r\n")
def test_both_readers_see_the_same_in_files_that_both_can_read(
    records: list[str], end: str
) -> None:
    content = end.join(["user_id,item_id,timestamp,rating", *records]) + end
    with TemporaryDirectory() as name:
        folder = Path(name)
        layout = project(folder, {"log.csv": content}, weight_column="rating")
        params = IngestParams.load(layout.params)
        path = layout.data / "log.csv"
        shape = columns.shape(path, params)
        with engine.duckdb(layout.state) as connection:
            slow = formats._slow(connection, [path], [shape], params, folder).to_pyarrow()
            try:
                table = formats._text(connection, path, shape, params)
                fast = formats._numbered(connection, [table]).to_pyarrow()
            except duckdb.InvalidInputException:
                return  # then the slow reader decides alone
    assert slow.to_pylist() == fast.to_pylist()


@QUICK
@given(st.lists(st.binary(max_size=20).filter(lambda raw: b"\n" not in raw), max_size=20))
def test_the_slow_reader_accounts_for_every_line(raw: list[bytes]) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "log"
        path.write_bytes(b"h\n" + b"".join(line + b"\n" for line in raw))
        shape = csv_fallback.Shape("::", ("a", "b"))
        found = list(csv_fallback.delimited(path, shape))
    expected = [line.rstrip(b"\r") for line in raw]
    assert len(found) == sum(1 for line in expected if line)
    assert [text for _, text in found] == [line for line in expected if line]


def test_an_open_quote_costs_its_own_line_only(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('u,i\n1,"open\n' + "".join(f"{n},x\n" for n in range(100)))
    found = list(csv_fallback.delimited(path, csv_fallback.Shape(",", ("u", "i"))))
    assert found[0] == (None, b'1,"open')
    assert [record for record, _ in found[1:]] == [[str(n), "x"] for n in range(100)]


@pytest.mark.parametrize("dirty", [False, True])
def test_rows_are_numbered_in_the_order_of_a_file_of_many_blocks(
    tmp_path: Path, dirty: bool
) -> None:
    count = 300_000
    bad = "1,2,3,4,5\n" if dirty else ""
    content = "user_id,item_id,timestamp\n" + "".join(f"u,{n},7\n" for n in range(count)) + bad
    layout = run(tmp_path, {"log.csv": content})
    table = pa.table({"row": range(count), "item": [str(n) for n in range(count)]})
    found = ibis.read_parquet(layout.interactions / "interactions.parquet")
    assert (
        found.select("row", item="item_id")
        .to_pyarrow()
        .equals(table.cast(pa.schema({"row": pa.int64(), "item": pa.string()})))
    )
    assert set_aside(layout) == ([(count, "bad-line")] if dirty else [])
