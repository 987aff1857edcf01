"""Ingest, format by format and fault by fault, on a handful of rows."""

import gzip
import json
import zlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_cases import kept, project, run, set_aside

from recctl.data.interactions import CAUSES, INTERACTIONS, QUARANTINE
from recctl.errors import UserError
from recctl.stages import ingest

SECOND = 1_000_000

THREE = [("a", "x", 1 * SECOND, 1.0, 1), ("a", "y", 2 * SECOND, 1.0, 2), ("b", "x", 0, 1.0, 0)]
"""b saw x at second 0, then a saw x and y: ordered by user, then by time."""

CSV = "user_id,item_id,timestamp\nb,x,0\na,x,1\na,y,2\n"
PACKED = gzip.compress(CSV.encode(), mtime=0)
"""Without the time of day: the bytes are in the tests' names, which are the same at every call."""


def report(layout: Any) -> Any:
    return json.loads((layout.interactions / "report.json").read_text())


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("log.csv", CSV, {}),
        ("log.csv", CSV.replace("\n", "\r\n"), {}),
        ("log.csv", CSV.rstrip("\n"), {}),
        ("log.csv", "\ufeff" + CSV, {}),
        ("log.csv", CSV.replace("\n", "\n\n"), {}),
        ("log.csv", PACKED, {}),
        ("log.csv.gz", PACKED, {}),
        ("log.csv", CSV.replace("b,x,0", '"b","x","0"'), {}),
        ("log.csv", CSV.replace(",", ";"), {"delimiter": ";"}),
        ("log.tsv", CSV.replace(",", "\t"), {"format": "tsv"}),
        (
            "log.dat",
            "b::x::9::0\na::x::9::1\na::y::9::2\n",
            {"delimiter": "::", "columns": ["user_id", "item_id", "stars", "timestamp"]},
        ),
        (
            "u.data",
            "b\tx\t9\t0\na\tx\t9\t1\na\ty\t9\t2\n",
            {"format": "tsv", "columns": ["user_id", "item_id", "stars", "timestamp"]},
        ),
        (
            "log.csv",
            "when, what ,who\n0,x,b\n1,x,a\n2,y,a\n",
            {"user_column": "who", "item_column": "what", "time_column": "when"},
        ),
        (
            "log.jsonl",
            '{"user_id":"b","item_id":"x","timestamp":0,"more":[1]}\n'
            '{"item_id":"x","user_id":"a","timestamp":1}\n'
            '{"user_id":"a","item_id":"y","timestamp":"2"}\n',
            {"format": "jsonl"},
        ),
    ],
)
def test_every_text_format_gives_the_same_interactions(
    tmp_path: Path, name: str, content: str | bytes, settings: dict[str, Any]
) -> None:
    layout = run(tmp_path, {name: content}, **settings)
    assert kept(layout) == THREE
    assert set_aside(layout) == []


@pytest.mark.parametrize(
    "times",
    [
        pa.array([0, 1, 2], pa.int32()),
        pa.array([0.0, 1.0, 2.0], pa.float64()),
        pa.array([0, SECOND, 2 * SECOND], pa.timestamp("us")),
        pa.array([0, 1000, 2000], pa.timestamp("ms", "Europe/Berlin")),
        pa.array(["0", "1", "2"]),
    ],
    ids=lambda times: str(times.type),
)
def test_parquet_times_of_every_type(tmp_path: Path, times: pa.Array) -> None:
    table = pa.table({"user_id": ["b", "a", "a"], "item_id": ["x", "x", "y"], "timestamp": times})
    pq.write_table(table, tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    assert kept(run(tmp_path, {"log.parquet": content}, format="parquet")) == THREE


def test_parquet_ids_that_pandas_made_floats(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array([7.0, float("nan"), 1e6]),
            "item_id": pa.array([1, 2, 30]),
            "timestamp": pa.array([date(1970, 1, 2)] * 3),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    content = (tmp_path / "log.parquet").read_bytes()
    layout = run(tmp_path, {"log.parquet": content}, format="parquet")
    day = 86_400 * SECOND
    assert kept(layout) == [("1000000", "30", day, 1.0, 2), ("7", "1", day, 1.0, 0)]
    assert set_aside(layout) == [(1, "no-user")]


def test_order_of_lines_is_the_time_of_sequences(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"1.txt": "2 9\n1 8\n2 9\n", "2.txt": "1 7\n"}
    layout = run(tmp_path, files, format="sequences")
    assert kept(layout) == [
        ("1", "8", 1, 1.0, 1),
        ("1", "7", 3, 1.0, 3),
        ("2", "9", 0, 1.0, 0),
        ("2", "9", 2, 1.0, 2),
    ]
    assert "first_time" not in report(layout)


def test_tabs_separate_sequences_as_well(tmp_path: Path) -> None:
    layout = run(tmp_path, {"s.txt": "1\t8\n1\t7\n"}, format="sequences")
    assert [row[1] for row in kept(layout)] == ["8", "7"]


def test_equal_times_keep_the_order_of_the_log(tmp_path: Path) -> None:
    rows = "".join(f"u,i{n},5\n" for n in (3, 1, 2, 0))
    layout = run(tmp_path, {"a.csv": "user_id,item_id,timestamp\n" + rows})
    assert [(item, row) for _, item, _, _, row in kept(layout)] == [
        ("i3", 0),
        ("i1", 1),
        ("i2", 2),
        ("i0", 3),
    ]


def test_users_are_ordered_by_their_bytes(tmp_path: Path) -> None:
    users = ["b", "a", "Z", "10", "9", "é", "𝄞", "\uffee"]
    rows = "".join(f"{user},i,{n}\n" for n, user in enumerate(users))
    layout = run(tmp_path, {"a.csv": "user_id,item_id,timestamp\n" + rows})
    assert [row[0] for row in kept(layout)] == sorted(users, key=str.encode)


DIRTY = (
    b"user_id,item_id,timestamp,rating\n"
    b"1,a,1,3\n"  # 0 good
    b"2,b,2\n"  # 1 too few fields
    b"3,c,3,4,5\n"  # 2 too many
    b"\n"
    b'5,"e,5,3\n'  # 3 an open quote
    b",f,6,3\n"  # 4
    b"7,\xff\xfe,7,3\n"  # 5 not UTF-8
    b'8,"h ""q""",8,3\n'  # 6 good
    b"9,i,NaN,3\n"  # 7
    b"10,  ,5,3\n"  # 8
    b"11,i,,3\n"  # 9
    b"12,i,2.5,x\n"  # 10
    b"13,i,-2.5,1.5\n"  # 11 the minimum is 2
    b"13,i,999999999999,3\n"  # 12 the year 33658
    b'14,"i\nj",17,2\n'  # 13 good, on two lines
    b"1,a,1,3\n"  # 14 as row 0
    b"1,a,1,3.0\n"  # 15 as row 0: the same number
    b"1,a,1,4\n"  # 16 good: another weight
    b"15,k,1,NaN\n"  # 17
    b"15,k,1,\n"  # 18
)


def test_every_fault_has_its_cause(tmp_path: Path) -> None:
    layout = run(tmp_path, {"log.csv": DIRTY}, weight_column="rating", minimum_weight=2.0)
    assert kept(layout) == [
        ("1", "a", 1 * SECOND, 3.0, 0),
        ("1", "a", 1 * SECOND, 4.0, 16),
        ("14", "i\nj", 17 * SECOND, 2.0, 13),
        ("8", 'h "q"', 8 * SECOND, 3.0, 6),
    ]
    assert set_aside(layout) == [
        (1, "bad-line"),
        (2, "bad-line"),
        (3, "bad-line"),
        (4, "no-user"),
        (5, "bad-encoding"),
        (7, "bad-time"),
        (8, "no-item"),
        (9, "no-time"),
        (10, "bad-weight"),
        (11, "low-weight"),
        (12, "bad-time"),
        (14, "duplicate"),
        (15, "duplicate"),
        (17, "bad-weight"),
        (18, "bad-weight"),
    ]


def test_quarantine_keeps_the_text_of_the_source(tmp_path: Path) -> None:
    layout = run(tmp_path, {"log.csv": DIRTY}, weight_column="rating", minimum_weight=2.0)
    rows = {
        r["row"]: r for r in pq.read_table(layout.interactions / "quarantine.parquet").to_pylist()
    }
    assert rows[1]["line"] == "2,b,2"
    assert rows[5]["line"] == "7,\\xff\\xfe,7,3"
    assert rows[11] == {
        "row": 11,
        "cause": "low-weight",
        "user_id": "13",
        "item_id": "i",
        "timestamp": "-2.5",
        "weight": "1.5",
        "line": None,
    }


def test_report_adds_up(tmp_path: Path) -> None:
    layout = run(tmp_path, {"log.csv": DIRTY}, weight_column="rating", minimum_weight=2.0)
    facts = report(layout)
    assert facts["rows_in"] == 19 == facts["rows_out"] + facts["quarantined"]
    assert facts["quarantined"] == sum(facts["quarantine"].values()) == 15
    assert list(facts["quarantine"]) == list(CAUSES)
    assert (facts["users"], facts["items"]) == (3, 3)
    assert facts["first_time"] == "1970-01-01T00:00:01+00:00"
    assert facts["last_time"] == "1970-01-01T00:00:17+00:00"


def test_files_have_the_schema_they_should(tmp_path: Path) -> None:
    clean, dirty = run(tmp_path / "1", {"a.csv": CSV}), run(tmp_path / "2", {"a.csv": CSV + ",,\n"})
    for layout in (clean, dirty):
        for name, schema in (("interactions", INTERACTIONS), ("quarantine", QUARANTINE)):
            found = pq.read_schema(layout.interactions / f"{name}.parquet")
            assert [(f.name, f.type) for f in found] == [
                (f.name, f.type) for f in schema.to_pyarrow()
            ]


def test_jsonl_with_bad_lines(tmp_path: Path) -> None:
    text = (
        '{"user_id":1,"item_id":"a","timestamp":1}\n'
        '{"user_id":2,\n'
        "\n"
        "[1, 2]\n"
        '{"user_id":3,"item_id":null,"timestamp":1}\n'
        '{"user_id":4,"item_id":{"x": 1},"timestamp":1.5}\n'
    )
    layout = run(tmp_path, {"log.jsonl": text}, format="jsonl")
    assert kept(layout) == [("1", "a", 1 * SECOND, 1.0, 0)]
    assert set_aside(layout) == [
        (1, "bad-line"),
        (2, "bad-line"),
        (3, "no-item"),
        (4, "bad-line"),
    ]


def test_sequences_with_bad_lines(tmp_path: Path) -> None:
    layout = run(tmp_path, {"s.txt": "1 8\n1\n1 7 6\n1 5\n"}, format="sequences")
    assert [(row[1], row[2]) for row in kept(layout)] == [("8", 0), ("5", 3)]
    assert set_aside(layout) == [(1, "bad-line"), (2, "bad-line")]


def test_titles(tmp_path: Path) -> None:
    items = 'item_id,year,title\nx,1,"Alien, again"\ny,2,\nx,3,Other\n,4,Nameless\nz\n'
    files: dict[str, str | bytes] = {"log.csv": CSV, "items.csv": items}
    layout = run(tmp_path, files, files=["log.csv"], items_file="items.csv")
    table = pq.read_table(layout.interactions / "items.parquet")
    assert table.to_pydict() == {"item_id": ["x", "y"], "title": ["Alien, again", ""]}
    assert report(layout)["unreadable_titles"] == 2


def test_without_titles_the_table_is_empty(tmp_path: Path) -> None:
    layout = run(tmp_path, {"log.csv": CSV})
    assert pq.read_table(layout.interactions / "items.parquet").to_pydict() == {
        "item_id": [],
        "title": [],
    }


def _truncated() -> bytes:
    whole = gzip.compress(CSV.encode() * 1000)
    return whole[: len(whole) // 2]


def _damaged() -> bytes:
    rows = "".join(f"{n},{n * n},{n}\n" for n in range(50_000))
    whole = bytearray(gzip.compress(CSV.encode() + rows.encode()))
    whole[-9_000:-8_000] = bytes(1000)
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(bytes(whole))
    return bytes(whole)


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        (b"", {}, ["log.csv is empty"]),
        (b"user_id,item_id,timestamp\n", {}, ["no rows in log.csv"]),
        (CSV, {"user_column": "who"}, ["no column 'who'", "ingest.user_column", "item_id"]),
        (CSV, {"weight_column": "stars"}, ["no column 'stars'", "ingest.weight_column"]),
        (CSV, {"time_unit": "iso"}, ["3 times bad-time", "ingest.time_unit", "timestamp '0'"]),
        (CSV, {"delimiter": ";"}, ["no column 'user_id'", "user_id,item_id,timestamp"]),
        ("b,x,0\n", {"columns": ["user_id", "item_id"]}, ["names 2 columns", "first line has 3"]),
        (CSV, {"format": "parquet"}, ["not a whole parquet file"]),
        (CSV, {"format": "jsonl"}, ["JSON objects"]),
        (CSV, {"format": "sequences"}, ["4 times bad-line", "ingest.format"]),
        (CSV, {"files": ["other.csv"]}, ["no file", "other.csv", "ingest.files"]),
        (CSV, {"items_file": "other.csv"}, ["no file", "other.csv", "ingest.items_file"]),
        (CSV, {"items_file": "log.csv"}, ["no column 'title'", "title"]),
        (_truncated(), {}, ["log.csv is damaged or incomplete", "get the file again"]),
        (_damaged(), {}, ["log.csv is damaged or incomplete", "get the file again"]),
        ("a\nb\n".encode("utf-16"), {}, ["no column 'user_id'", "',' are a:"]),
        ("José\n".encode("latin-1"), {}, ["not UTF-8", "--encoding", "ingest.encoding"]),
    ],
)
def test_mistakes_end_in_one_line(
    tmp_path: Path, content: str | bytes, settings: dict[str, Any], words: list[str]
) -> None:
    layout = project(tmp_path, {"log.csv": content}, **settings)
    earlier = layout.interactions / "report.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("earlier")
    with pytest.raises(UserError) as failure:
        ingest.run(layout)
    message = str(failure.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert earlier.read_text() == "earlier"
    assert list(earlier.parent.iterdir()) == [earlier]
    assert list(layout.interactions.parent.iterdir()) == [layout.interactions]


def test_parquet_files_must_agree_on_the_type_of_times(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for name, times in (
        ("1.parquet", pa.array([1], pa.int64())),
        ("2.parquet", pa.array([datetime(2024, 1, 1, tzinfo=UTC)])),
    ):
        table = pa.table({"user_id": ["a"], "item_id": ["x"], "timestamp": times})
        pq.write_table(table, tmp_path / name)
        files[name] = (tmp_path / name).read_bytes()
    with pytest.raises(UserError, match=r"different types \(s, us\)"):
        run(tmp_path, files, format="parquet")
