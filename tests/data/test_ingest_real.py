"""Ingest and sequence-split on MovieLens, where RECCTL_REAL_DATA names a folder that holds it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from recctl.layout import Layout
from recctl.sequences.store import SequenceData
from recctl.stages import ingest, sequence_split

pytestmark = pytest.mark.realdata

REAL = os.environ.get("RECCTL_REAL_DATA")


def run(folder: Path, name: str, **settings: Any) -> Layout:
    """A project around a file of the folder, after both stages."""
    if REAL is None:
        pytest.skip("RECCTL_REAL_DATA does not name a folder with MovieLens")
    source = Path(REAL) / name
    if not source.is_file():
        pytest.skip(f"there is no {source}")
    (folder / "data").mkdir()
    (folder / "data" / source.name).symlink_to(source.resolve())
    (folder / "dvc.yaml").touch()
    sections = {
        "ingest": {"name": "real", "files": [source.name], **settings},
        "sequence-split": {"protocol": "leave-one-out"},
    }
    YAML().dump(sections, folder / "params.yaml")
    layout = Layout(folder)
    ingest.run(layout)
    sequence_split.run(layout)
    return layout


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def test_ml_1m(tmp_path: Path) -> None:
    layout = run(tmp_path, "ml-1m.txt.gz", format="sequences")
    facts = report(layout.interactions)
    # What the 5-core that BERT4Rec is benchmarked on holds.
    assert (facts["users"], facts["items"], facts["rows_out"]) == (6040, 3416, 999_534)
    data = SequenceData.load(layout.sequences)
    assert len(data.cases("test")) == len(data.cases("validation")) == 6040
    assert data.vocabulary.size == 3416
    assert list(data.vocabulary.counts) == sorted(data.vocabulary.counts, reverse=True)


def test_ml_100k(tmp_path: Path) -> None:
    layout = run(
        tmp_path,
        "ml-100k/u.data",
        format="tsv",
        user_column="user-id",
        item_column="item-id",
        weight_column="rating",
    )
    facts = report(layout.interactions)
    # The counts of its README: 943 users, 1682 items, 100,000 ratings.
    assert (facts["users"], facts["items"], facts["rows_out"]) == (943, 1682, 100_000)
    assert facts["first_time"].startswith("1997-09-20")
    assert facts["last_time"].startswith("1998-04-22")
    assert report(layout.sequences)["test"]["users"] == 943
