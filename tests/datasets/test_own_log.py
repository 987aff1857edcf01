"""How a user's log is read: inferred from its content, or refused in one line."""

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.datasets import own_log, times
from recctl.datasets.own_log import OwnLog
from recctl.datasets.preview import Preview
from recctl.datasets.recognise import LAYOUTS
from recctl.errors import UserError

HEAD = "user_id,item_id,timestamp\n"
TWO = HEAD + "u1,i1,1500000000\nu2,i2,1500000001\n"
IDS = [("u1", "i1"), ("u2", "i2")]


def look(folder: Path, content: str | bytes, name: str = "log", **said: Any) -> Preview:
    """The preview of one file."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return own_log.read(folder, [name], OwnLog(**said), folder)


def parquet(folder: Path, **columns: Any) -> bytes:
    rows = {"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1_500_000_000, 1]}
    pq.write_table(pa.table(rows | columns), folder / "made")
    return (folder / "made").read_bytes()


def ids(preview: Preview) -> list[tuple[str, str]]:
    return [(row["user_id"], row["item_id"]) for row in preview.examples]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TWO, ("csv", None)),
        (TWO.replace(",", "\t"), ("tsv", None)),
        (TWO.replace(",", ";"), ("csv", ";")),
        (TWO.replace(",", "::"), ("csv", "::")),
        ("\ufeff" + TWO, ("csv", None)),
        ('"user_id","item_id","timestamp"\n1,"2,5",3\n', ("csv", None)),
        ("other;names;here\n1;2,5;3\n", ("csv", ";")),
        ('{"user_id": 1}\n', ("jsonl", None)),
        ("1 2\n1 3\n", ("sequences", None)),
    ],
)
def test_the_format_is_inferred(
    tmp_path: Path, text: str, expected: tuple[str, str | None]
) -> None:
    (tmp_path / "log").write_bytes(text.encode())
    assert own_log.form_of(tmp_path / "log", OwnLog()) == expected


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: pa.compress(data, "zstd", asbytes=True),
        lambda data: data.replace(b"\n", b"\r"),
        lambda data: data.decode().encode("utf-16"),
        lambda data: b"\xef\xbb\xbfsep=;\r\n" + data.replace(b",", b";").replace(b"\n", b"\r\n"),
    ],
    ids=["gzip", "bz2", "xz", "zstd", "lone-carriage-returns", "utf-16", "excel"],
)
def test_every_encoding_and_compression(tmp_path: Path, packed: Callable[[bytes], bytes]) -> None:
    assert ids(look(tmp_path, packed(TWO.encode()))) == IDS


def test_a_compressed_parquet_file(tmp_path: Path) -> None:
    found = look(tmp_path, gzip.compress(parquet(tmp_path)))
    assert (found.ingest.format, ids(found)) == ("parquet", [("a", "x"), ("b", "y")])


LATE = (HEAD + "u,i,1500000000\n" * 400 + "José,i,1500000000\n").encode("latin-1")


@pytest.mark.parametrize(
    ("content", "said", "words"),
    [
        (b"", {}, ["is empty"]),
        (HEAD, {}, ["no rows"]),
        ("one word\n", {}, ["no known form", "--format", "--delimiter"]),
        ("<html>\0</html>", {}, ["NUL", "--encoding", "utf-16-le"]),
        (TWO, {"encoding": "klingon"}, ["not a text encoding", "--encoding"]),
        (LATE, {}, ["1 lines", "not UTF-8", "row 400", "latin-1", "--encoding"]),
        (TWO.encode("utf-16")[:-1], {}, ["not text in utf-16", "--encoding"]),
        ("user;item;t\na;b;1\n", {}, ["no column 'user_id'", "user, item, t", "--user-column"]),
        ("u1,i1,1500000000\n", {}, ["first line is u1, i1", "--columns"]),
        ("1,2,5.0,1369699200\n", {}, ["first line is 1, 2", "--columns"]),
        ("u,u,i\n1,2,3\n", {"user_column": "u"}, ["2 columns 'u'"]),
        (TWO, {"columns": ["user", "item"]}, ["names 2 columns, the first line has 3"]),
        (TWO, {"user_column": "item_id"}, ["must be three columns"]),
        ('[{"user_id":1}]', {}, ["one per line", "--format"]),
        ('{"user_id":1,"item_id":["a"],"timestamp":1}', {}, ["1 times bad-line", "list"]),
        ("PAR1 and nothing else", {}, ["not a whole parquet file"]),
        (gzip.compress(TWO.encode() * 50)[:-9], {}, ["damaged or incomplete"]),
        (bz2.compress(TWO.encode() * 50)[:-9], {}, ["damaged or incomplete"]),
    ],
)
def test_what_cannot_be_inferred_is_refused_in_one_line(
    tmp_path: Path, content: str | bytes, said: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as failure:
        look(tmp_path, content, **said)
    message = str(failure.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_an_encoding_that_is_named(tmp_path: Path) -> None:
    assert look(tmp_path, LATE, encoding="latin-1").users == 2
    aside = look(tmp_path, LATE, encoding="utf-8")
    assert (aside.interactions, aside.quarantine) == (1, {"bad-encoding": 1, "duplicate": 399})


def test_columns_of_a_file_without_header(tmp_path: Path) -> None:
    found = look(tmp_path, "i1,u1,5,1500000000\n", columns=["item", "user", "weight", "time"])
    assert (ids(found), found.examples[0]["weight"]) == ([("u1", "i1")], 5.0)
    first = "\ti1\t1500000000\nu2\ti2\t1500000001\n"  # the first row has no user
    found = look(tmp_path, first, columns=["user", "item", "time"])
    assert (ids(found), found.quarantine) == ([("u2", "i2")], {"no-user": 1})
    again = look(tmp_path, TWO, columns=["item_id", "user_id", "timestamp"])
    assert ids(again) == IDS  # the header says it


def test_names_that_differ_in_case(tmp_path: Path) -> None:
    content = parquet(tmp_path, User_ID=["X", "X"], user_id=["a", "b"])
    assert ids(look(tmp_path, content))[0] == ("a", "x")
    text = '{"id":"u1","ID":"i1","ts":1500000000}\n'
    said = {"user_column": "id", "item_column": "ID", "time_column": "ts"}
    assert ids(look(tmp_path, text, **said)) == [("u1", "i1")]


@pytest.mark.parametrize(
    ("written", "id_"),
    [
        ("007", "007"),
        ("7.0", "7"),
        ("9007199254740991.0", "9007199254740991"),
        ('"1,234"', "1,234"),
        ("NA", "NA"),
        ("4873214862074861312.0", "bad-id"),
        ("4.873214862074861e+18", "bad-id"),
        ("a\0b", "bad-id"),
        ("nan", "no-user"),
        ("NULL", "no-user"),
        (" ", "no-user"),
    ],
)
def test_ids_in_text(tmp_path: Path, written: str, id_: str) -> None:
    good = "".join(f"u,i,{n}\n" for n in range(300))  # a NUL at the beginning is no text
    found = look(tmp_path, HEAD + good + f"{written},i,1500000000\n")
    assert (found.users, found.quarantine) in [(2, {}), (1, {id_: 1})]
    if found.users == 2:
        assert ids(look(tmp_path, HEAD + f"{written},i,9\n")) == [(id_, "i")]


BIG = [4873214862074861312.0, 1.0]


@pytest.mark.parametrize(
    ("column", "first"),
    [
        (pa.array([1.0, float("nan")]), "1"),
        (pa.array(["a", "b"]).dictionary_encode(), "a"),
        (pa.array(["a", "b"], pa.large_string()), "a"),
        (pa.array([b"a", b"b"]), "a"),
        (pa.array([7, 8], pa.decimal128(10, 2)), "7"),
        (pa.array([2**64 - 1, 1], pa.uint64()), "18446744073709551615"),
        (pa.array([18262, 0], pa.date32()), "2020-01-01"),
        (pa.array([True, False]), "type bool.*--user-column"),
        (pa.array([["a"], ["b"]]), "type list.*--user-column"),
        (pa.array([{"a": 1}] * 2), "type struct.*--user-column"),
        (pa.array([b"\xff\xfe", b"b"]), "not UTF-8"),
        (pa.nulls(2), "2 times no-user"),
    ],
)
def test_ids_in_parquet(tmp_path: Path, column: pa.Array, first: str) -> None:
    content = parquet(tmp_path, user_id=column)
    if " " not in first:
        assert ids(look(tmp_path, content))[0][0] == first
        return
    with pytest.raises(UserError, match=first):
        look(tmp_path, content)


def test_float_ids_beyond_2_to_53(tmp_path: Path) -> None:
    found = look(tmp_path, parquet(tmp_path, user_id=BIG))
    assert (ids(found), found.quarantine) == ([("1", "y")], {"bad-id": 1})


NEW_YEAR = datetime(2020, 1, 1)


@pytest.mark.parametrize(
    "kind",
    [
        pa.timestamp("ns", "UTC"),
        pa.timestamp("ns"),
        pa.timestamp("s", "Europe/Berlin"),
        pa.timestamp("ms", "+05:30"),
        pa.date32(),
        pa.date64(),
    ],
    ids=str,
)
def test_times_with_a_type(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array([NEW_YEAR] * 2, pa.timestamp("us")).cast(kind)
    found = look(tmp_path, parquet(tmp_path, timestamp=column))
    assert found.first_time == "2020-01-01T00:00:00+00:00"


def inferred(*values: object, unit: Any = None) -> times.Reading:
    """What is inferred from a column of times."""
    column = pa.array([None if value is None else str(value) for value in values], pa.string())
    table = ibis.memtable(pa.table({"timestamp": column}))
    return times.inferred(table, "of the log", unit)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["01/12/2010 08:26", "13/12/2010 09:00"], "%d/%m/%Y %H:%M"),
        (["12/31/2010 11:59 PM", "01/02/2011 1:00 AM"], "%m/%d/%Y %I:%M %p"),
        (["1.12.2010", "31.12.2010"], "%d.%m.%Y"),
        (["2010/12/01 08:26:00", "2010/12/31 08:26:00"], "%Y/%m/%d %H:%M:%S"),
        (["2010-12-01 08:26:00 UTC"], "%Y-%m-%d %H:%M:%S UTC"),
        (["1 May 2011", "2 Jun 2011"], "%d %b %Y"),
        (["May 1, 2011", "June 2, 2011"], "%B %d, %Y"),
        (["01-DEC-10"], "%d-%b-%y"),
        (["Wed, 01 Dec 2010 08:26:00 +0000"], "%a, %d %b %Y %H:%M:%S %z"),
        (["Wed Dec 01 08:26:00 +0000 2010"], "%a %b %d %H:%M:%S %z %Y"),
        (["13/12/2010 08:26:00.123"], "%d/%m/%Y %H:%M:%S.%n"),
        (["20240101", "20241231", "20249999"], "%Y%m%d"),
        (["20240101123000"], "%Y%m%d%H%M%S"),
        (["202401011230"], "%Y%m%d%H%M"),
    ],
)
def test_dates_as_people_write_them(values: list[str], form: str) -> None:
    assert inferred(*values).form == form


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            ["01/12/2010 08:26", "02/12/2010 09:00"],
            [
                "2010-12-01 08:26:00 or 2010-01-12 08:26:00",
                "--time-format '%d/%m/%Y %H:%M'",
                "--time-format '%m/%d/%Y %H:%M'",
            ],
        ),
        (["13/12/2010", "12/31/2010"], ["'13/12/2010' is only the first", "'12/31/2010'"]),
        (["01/01/2010", "02/02/2010"], ["two ways"]),
        (["01/02/10", "03/04/10"], ["%d/%m/%y", "%m/%d/%y"]),
        ([1_500_000_000, 1_500_000_000_123], ["1 of the size of s", "1 of the size of ms"]),
        (["yesterday"], ["'yesterday'", "--time-column", "--time-format"]),
        (["45000.5", "25569"], ["45000.5 would be 2023-03-15 12:00", "Excel", "--time-unit s"]),
    ],
)
def test_times_that_are_asked_about(values: list[object], words: list[str]) -> None:
    with pytest.raises(UserError) as failure:
        inferred(*values)
    message = str(failure.value)
    assert all(word in message for word in words), message


def test_a_unit_that_would_make_dates_of_1970_is_refused() -> None:
    mixed = (1_500_000_000, 1_500_000_000_123)
    with pytest.raises(UserError, match="different units"):
        inferred(*mixed, unit="ms")
    assert "all are read as s" in str(inferred(*mixed, unit="s").note)  # the rest is no date then


UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@settings(max_examples=20)
@given(
    unit=st.sampled_from(list(UNITS)),
    moments=st.lists(
        st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)), min_size=1, max_size=9
    ),
)
def test_the_unit_of_recent_times_is_inferred(unit: str, moments: list[datetime]) -> None:
    numbers = [int(moment.replace(tzinfo=UTC).timestamp()) * UNITS[unit] for moment in moments]
    assert inferred(*numbers) == times.Reading(unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (["2017-12-17", "2018-01-01 10:00:00+02:00"], "iso"),
        (["", None, "1500000000"], "s"),
        (["broken", "1500000000.5", "1500000001"], "s"),
        (["nan", "1500000000000", "1500000000000"], "ms"),
        (["1", "2", "3"], "s"),
        (["45000.5", "73051"], "s"),
    ],
)
def test_units_of_other_values(values: list[object], unit: str) -> None:
    assert inferred(*values).unit == unit


WEIGHTS = "user_id;item_id;timestamp;w\n"


@pytest.mark.parametrize(
    ("values", "said", "expected"),
    [
        (["3,5", "1.234,5"], {}, [3.5, 1234.5]),
        (["1,234.5", "2"], {}, [1234.5, 2.0]),
        (["1,234", "2"], {"decimal": ","}, [1.234, 2.0]),
        (["1,234", "2"], {"decimal": "."}, [1234.0, 2.0]),
        (["-1", "2"], {"minimum_weight": 1.0}, [2.0]),
        (["1,234", "2"], {}, "--decimal ',' or --decimal '.'"),
        (["3,5", "2.5"], {}, "--decimal"),
        (["-1", "2"], {}, "1 values below zero .* --min-weight .*: 0 leaves returns out"),
        (["-1", "0.5"], {"minimum_weight": 0.0}, [0.5]),
    ],
)
def test_weights(tmp_path: Path, values: list[str], said: dict[str, Any], expected: Any) -> None:
    rows = "".join(f"u{n};i;1500000000;{value}\n" for n, value in enumerate(values))
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            look(tmp_path, WEIGHTS + rows, weight_column="w", **said)
        return
    found = look(tmp_path, WEIGHTS + rows, weight_column="w", **said)
    assert [row["weight"] for row in found.examples] == expected


SHOP = (
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,CustomerID\n"
    '1,85123A,"LAMP, RED",6,01/12/2010 08:26,17850\n'
    "C2,85123A,LAMP,-1,13/12/2010 08:26,17850\n"
    "3,22139,,56,01/12/2010 11:52,\n"
)
SAID = {"user_column": "CustomerID", "item_column": "StockCode", "time_column": "InvoiceDate"}


def test_a_shops_invoices(tmp_path: Path) -> None:
    found = look(tmp_path, SHOP, **SAID)
    assert found.ingest.time_format == "%d/%m/%Y %H:%M"
    assert (found.interactions, found.quarantine) == (2, {"no-user": 1})
    assert any("1 values below zero (to -1)" in note for note in found.notes)
    assert any("ingest.anonymous: drop" in note for note in found.notes)
    asked = {"weight_column": "Quantity", "minimum_weight": 1.0, "anonymous": "drop"}
    kept = look(tmp_path, SHOP, **SAID, **asked, title_column="Description")
    assert (kept.interactions, kept.quarantine) == (1, {"anonymous": 1, "low-weight": 1})
    assert not any("quarantine" in note for note in kept.notes)
    assert kept.ingest.title_column == "Description"


def test_several_files_may_have_their_columns_in_another_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(TWO)
    (tmp_path / "b").write_text("x,timestamp,item_id,user_id\n,1500000002,i3,u3\n")
    found = own_log.read(tmp_path, ["a", "b"], OwnLog(), tmp_path)
    assert ids(found) == [*IDS, ("u3", "i3")]
    (tmp_path / "b").write_text(TWO.replace(",", ";"))
    with pytest.raises(UserError, match="different formats"):
        own_log.read(tmp_path, ["a", "b"], OwnLog(), tmp_path)


def test_amazons_two_orders() -> None:
    old, new = "A39HTATAQ9V7YF,0205616461,5.0,1\n", "B000000001,A39HTATAQ9V7YF,5.0,1\n"
    fits = [[name for name, fits in LAYOUTS.items() if fits([line])] for line in (old, new)]
    assert fits == [["amazon-ratings"], ["amazon-ratings-2018"]]


def test_a_log_in_a_zip_archive(tmp_path: Path) -> None:
    from recctl.datasets.recognise import entries
    from recctl.datasets.use import _linked

    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        archive.writestr("in/log.csv", TWO)
    [entry] = entries(tmp_path / "log.zip")
    assert ids(own_log.read(tmp_path, [_linked(entry, tmp_path)], OwnLog(), tmp_path)) == IDS
