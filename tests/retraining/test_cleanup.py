"""`clean_up`: what killed processes left goes after a day, and nothing else ever does."""

import os
import time
from pathlib import Path

import pytest

from recctl.layout import Layout
from recctl.retraining.cleanup import DAY, clean_up

LEFT = ["describe-a1", "package-a1", "tables-a1", "versions/.fetched-a1"]
KEPT = [
    "checkpoints/key.pt",
    "downloads/ml/log.csv.part",
    "intake/synced.json",
    "intake/url-web/rows.csv.part",
    "services/prefect.json",
    "prefect/prefect.db",
    "versions/3-abcdef/model.json",
    "backfill/20240101-20240102/data.dvc",
    "retrain.json",
    "retrain.lock",
    "tables-are-fine.txt",
]


def put(path: Path, age: float) -> None:
    """A file, it and its folder last written to `age` seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    when = time.time() - age
    for one in (path, path.parent):
        os.utime(one, (when, when))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_only_scratch_folders_of_the_dead_go(layout: Layout) -> None:
    for name in KEPT:
        put(layout.state / name, 400 * DAY)
    for name in LEFT:
        put(layout.state / name / "rows.parquet", DAY + 60)
    assert sorted(clean_up(layout)) == LEFT
    assert not any((layout.state / name).exists() for name in LEFT)
    assert all((layout.state / name).is_file() for name in KEPT)
    assert clean_up(layout) == []


def test_what_is_written_to_stays(layout: Layout) -> None:
    put(layout.state / "tables-a1" / "old", 2 * DAY)
    put(layout.state / "tables-a1" / "deep" / "new", 60)
    os.utime(layout.state / "tables-a1", (0, 0))
    put(layout.state / "package-a1" / "new", DAY - 60)
    assert clean_up(layout) == []
    assert clean_up(layout, time.time() + DAY) == ["tables-a1", "package-a1"]


def test_a_link_leads_nowhere(layout: Layout, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "file", 2 * DAY)
    layout.state.mkdir()
    (layout.state / "tables-a1").symlink_to(tmp_path / "elsewhere")
    assert clean_up(layout) == []
    assert (tmp_path / "elsewhere" / "file").exists()


def test_there_is_nothing_to_clean_up_in_a_new_project(layout: Layout) -> None:
    assert clean_up(layout) == []
    assert not layout.state.exists()
