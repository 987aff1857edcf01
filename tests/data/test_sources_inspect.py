"""The first look at a log of one's own."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data import inspect
from recctl.data.recognise import Entry, entries
from recctl.errors import UserError

COLUMNS = {"user_id", "item_id", "timestamp"}


def entry(folder: Path, text: str, name: str = "log") -> Entry:
    (folder / name).write_bytes(text.encode())
    return entries(folder / name)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user_id,item_id,timestamp\n1,2,3\n", ("csv", None)),
        ("user_id\titem_id\ttimestamp\n1\t2\t3\n", ("tsv", None)),
        ("user_id;item_id;timestamp\n1;2;3\n", ("csv", ";")),
        ("user_id::item_id::timestamp\n1::2::3\n", ("csv", "::")),
        ('"user_id","item_id","timestamp"\n1,2,3\n', ("csv", None)),
        ("\ufeffuser_id,item_id,timestamp\n1,2,3\n", ("csv", None)),
        ("other,names,here\n1,2,3\n", ("csv", None)),
        ('{"user_id": 1}\n', ("jsonl", None)),
        ("1 2\n1 3\n", ("sequences", None)),
    ],
)
def test_the_format_is_told(tmp_path: Path, text: str, expected: tuple[str, str | None]) -> None:
    assert inspect.guess_format(entry(tmp_path, text), COLUMNS) == expected


def test_parquet_is_told_by_its_magic(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "log")
    assert inspect.guess_format(entries(tmp_path / "log")[0], COLUMNS) == ("parquet", None)


@pytest.mark.parametrize("text", ["", "\n", "one word\n"])
def test_a_form_that_is_not_known_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"is empty or not a text|has no form"):
        inspect.guess_format(entry(tmp_path, text), COLUMNS)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("csv", "user_id,item_id\na,b\n\nc,d\n"),
        ("csv", 'user_id,item_id\r\n"a","b"\r\nc,d\r\n'),
        ("tsv", "user_id\titem_id\na\tb\nc\td\n"),
        ("jsonl", '{"user_id": "a", "item_id": "b"}\n\n{"user_id": "c", "item_id": "d"}'),
        ("sequences", "a b\nc d\n"),
    ],
)
def test_rows_by_column(tmp_path: Path, form: inspect.Format, text: str) -> None:
    expected = [{"user_id": "a", "item_id": "b"}, {"user_id": "c", "item_id": "d"}]
    assert inspect.sample(entry(tmp_path, text), form) == expected


def test_rows_without_a_header_and_with_a_delimiter(tmp_path: Path) -> None:
    rows = inspect.sample(entry(tmp_path, "a::b\n"), "csv", "::", ["user_id", "item_id"])
    assert rows == [{"user_id": "a", "item_id": "b"}]


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("csv", "user_id,item_id\n", "holds no rows"),
        ("csv", "", "holds no rows"),
        ("jsonl", "{}\n[1]\n", "line 2 is not a JSON object"),
        ("jsonl", "a,b\n", "line 1 is not a JSON object"),
        ("sequences", "1 2\n1 2 3\n", "line 2 holds 3 fields"),
        ("parquet", "PAR1 and nothing else", "not a whole parquet file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, form: inspect.Format, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        inspect.sample(entry(tmp_path, text), form)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes("user_id,item_id\nJosé,1\n".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        inspect.sample(entries(tmp_path / "log")[0], "csv")


def test_a_gzip_that_ends_too_early(tmp_path: Path) -> None:
    text = "user_id,item_id\n" + "".join(f"{n},{n * 7919}\n" for n in range(900))
    (tmp_path / "log").write_bytes(gzip.compress(text.encode())[:500])
    with pytest.raises(UserError, match="is damaged or incomplete"):
        inspect.sample(entries(tmp_path / "log")[0], "csv")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    log = entry(tmp_path, "")
    rows = [{"who": "a", "what": "b"}, {"when": 1}]
    with pytest.raises(UserError, match="no column 'user_id'; its columns are who, what, when: "):
        inspect.require_columns(log, rows, {"who": "--x", "user_id": "--user-column"})


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@given(
    unit=st.sampled_from(list(UNITS)),
    moments=st.lists(
        st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=9
    ),
    as_text=st.booleans(),
)
def test_the_unit_of_todays_times_is_told(
    unit: str, moments: list[datetime], as_text: bool
) -> None:
    # 1990 in seconds is 6e8 and 2100 is 4e9: a thousandfold lies between the units' ranges.
    numbers = [int(moment.replace(tzinfo=UTC).timestamp()) * UNITS[unit] for moment in moments]
    rows = [{"t": str(number) if as_text else number} for number in numbers]
    assert inspect.time_unit(Entry(Path("log"), 1), rows, "t") == unit


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (["2017-12-17", "2018-01-01 10:00:00+02:00"], "iso"),
        ([datetime(2020, 1, 1)], "iso"),
        (["", None, "1500000000"], "s"),
        (["broken", "1500000000.5", "1500000001"], "s"),
        (["nan", "1500000000000", "1500000000000"], "ms"),
    ],
)
def test_units_of_other_values(values: list[object], unit: str) -> None:
    rows = [{"t": value} for value in values]
    assert inspect.time_unit(Entry(Path("log"), 1), rows, "t") == unit


@pytest.mark.parametrize("values", [["yesterday"], [""], [None], ["nan"]])
def test_what_is_no_time_is_refused(values: list[object]) -> None:
    with pytest.raises(UserError, match="neither numbers nor ISO 8601"):
        inspect.time_unit(Entry(Path("log"), 1), [{"t": value} for value in values], "t")
