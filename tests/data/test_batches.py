"""Batches beside the base files: their form, and what ingest and describe make of them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_cases import FIRST, LOG, SECOND, good, put
from ingest_cases import kept, project, set_aside

from recctl.data import batches
from recctl.data.describe import describe
from recctl.errors import UserError
from recctl.files import read_json
from recctl.layout import Layout
from recctl.stages import ingest


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A log of two rows, and two batches of two and three."""
    layout = project(tmp_path, {"log.csv": LOG})
    put(layout, "000002-bbbbbbbb.parquet", SECOND)
    put(layout, "000001-aaaaaaaa.parquet", FIRST)
    return layout


def test_a_header_is_read_as_it_was_written(tmp_path: Path) -> None:
    layout = project(tmp_path, {"log.csv": LOG})
    mark = {"type": "int", "value": 7}
    batch = put(layout, "000001-aaaaaaaa.parquet", FIRST, name="it's é", watermark=mark)
    assert batches.held(layout.data) == [batch]
    assert batch.as_dict()["first_time"] == "1970-01-01T00:00:00.000005+00:00"


def test_batches_come_in_the_order_of_their_names_and_nothing_else_is_one(layout: Layout) -> None:
    for name in ("notes.txt", ".000003-cccccccc.parquet", "000003-cccccccc.parquet.tmp"):
        (layout.data / "intake" / name).touch()
    found = [path.name for path in batches.paths(layout.data)]
    assert found == ["000001-aaaaaaaa.parquet", "000002-bbbbbbbb.parquet"]
    assert batches.next_name(layout.data, "12345678" * 8) == "000003-12345678.parquet"


def test_ingest_numbers_the_rows_on_and_finds_duplicates_across_all(layout: Layout) -> None:
    ingest.run(layout)
    assert kept(layout) == [
        ("u", "j", 5, 1.0, 2),
        ("u", "i", 1_000_000, 1.0, 0),
        ("v", "i", 4, 1.0, 4),
    ]
    assert set_aside(layout) == [
        (1, "no-item"),
        (3, "bad-line"),
        (5, "duplicate"),
        (6, "duplicate"),
    ]
    report = read_json(layout.interactions / "report.json", "ingest")
    assert (report["rows_in"], report["batches"]) == (7, 2)


def test_ingest_without_batches_reports_none(tmp_path: Path) -> None:
    layout = project(tmp_path, {"log.csv": LOG})
    ingest.run(layout)
    assert read_json(layout.interactions / "report.json", "ingest")["batches"] == 0


def test_describe_counts_batches_too(layout: Layout) -> None:
    described = describe(layout)
    assert (described.rows, described.bad_rows, described.users) == (7, 2, 2)
    assert list(described.files) == ["log.csv", "intake/, 2 batches"]


def test_a_log_without_times_cannot_have_batches(layout: Layout) -> None:
    (layout.data / "log.txt").write_text("u i\n")
    project(layout.root, {"log.txt": "u i\n"}, format="sequences", time_unit="us")
    with pytest.raises(UserError, match="'sequences' has no times"):
        ingest.run(layout)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1 and no more",
        {"rows": 3, "new": 3},
        {"bad": {"bored": 1}},
        {"bad": "many"},
    ],
)
def test_what_is_no_batch_is_named(layout: Layout, content: bytes | dict[str, Any]) -> None:
    name = "000003-cccccccc.parquet"
    if isinstance(content, bytes):
        (layout.data / "intake" / name).write_bytes(content)
    elif isinstance(content.get("bad"), str):
        pq.write_table(pa.table({"x": [1]}), layout.data / "intake" / name)
    else:
        put(layout, name, [good("u", "i", 1)], **content)
    with pytest.raises(UserError, match=rf"{name} is not a batch of interactions"):
        batches.held(layout.data)
