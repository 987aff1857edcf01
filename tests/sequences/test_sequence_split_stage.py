"""The stage: from ingest's files to arrays that the rest of the pipeline reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.sequences.store import SequenceData
from recctl.stages import ingest, sequence_split

# Sorted by time, ann sees p q r q t, bob p q s, cy q p: as in test_split.py.
LOG = """user_id,item_id,timestamp
ann,t,19
ann,p,10
bob,p,11
ann,q,12
cy,q,13
ann,r,14
bob,q,15
cy,p,16
ann,q,17
bob,s,18
"""
FILES = {"items", "times", "offsets", "train_end", "validation", "test"}


def project(folder: Path, log: str = LOG, **settings: Any) -> Layout:
    """A project after ingest; every user counts unless a parameter says otherwise."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "log.csv").write_text(log)
    (folder / "data" / "items.csv").write_text("item_id,title\nq,Queen\np,Psycho\n")
    (folder / "dvc.yaml").touch()
    reading = {"name": "case", "files": ["log.csv"], "format": "csv", "items_file": "items.csv"}
    splitting = {"minimum_user_interactions": 1} | settings
    YAML().dump({"ingest": reading, "sequence-split": splitting}, folder / "params.yaml")
    layout = Layout(folder)
    ingest.run(layout)
    return layout


def report(layout: Layout) -> Any:
    return json.loads((layout.sequences / "report.json").read_text())


def test_the_files_are_what_the_store_reads(tmp_path: Path) -> None:
    layout = project(tmp_path)
    sequence_split.run(layout)
    data = SequenceData.load(layout.sequences)
    assert {path.name for path in layout.sequences.iterdir()} == {
        *(f"{name}.npy" for name in FILES),
        "cold.parquet",
        "users.parquet",
        "vocabulary.json",
        "report.json",
    }
    assert (data.items.dtype, data.times.dtype) == (np.int32, np.int64)
    assert isinstance(data.items, np.memmap)
    assert data.user_ids == ["ann", "bob", "cy"]
    assert data.vocabulary.items == ("p", "q", "r")
    assert data.vocabulary.titles == {"p": "Psycho", "q": "Queen"}
    assert [one.tolist() for one in data.train()] == [[0, 1, 2], [0], [1, 0]]
    test = data.cases("test")
    assert test.users.tolist() == [0, 1]
    assert [one.tolist() for one in test.histories] == [[0, 1, 2, 1], [0, 1]]
    assert test.targets.tolist() == [-1, -1]
    assert data.cases("validation").targets.tolist() == [1, 1]
    assert data.times[:2].tolist() == [10_000_000, 12_000_000]
    assert data.fingerprint == report(layout)["fingerprint"]


def test_the_report_counts(tmp_path: Path) -> None:
    layout = project(tmp_path, minimum_user_interactions=3)
    sequence_split.run(layout)
    facts = report(layout)
    del facts["fingerprint"]
    assert facts == {
        "protocol": "leave-one-out",
        "users": 2,
        "items": 3,
        "cold_items": 2,
        "interactions": 8,
        "interactions_outside_core": 2,
        "training_interactions": 4,
        "median_length": 4.0,
        "longest": 5,
        "validation": {
            "users": 2,
            "cold_targets": 0,
            "repeated_targets": 1,
            "users_without_history": 0,
        },
        "test": {
            "users": 2,
            "cold_targets": 2,
            "repeated_targets": 0,
            "users_without_history": 0,
        },
    }


def test_global_time_reports_its_cuts(tmp_path: Path) -> None:
    layout = project(tmp_path, protocol="global-time", test_from="1970-01-01T00:00:16Z")
    sequence_split.run(layout)
    facts = report(layout)
    assert facts["validation_from"] == "1970-01-01T00:00:15+00:00"
    assert facts["test_from"] == "1970-01-01T00:00:16+00:00"


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    shuffled = "".join(sorted(LOG.splitlines(keepends=True), reverse=True))
    assert shuffled.startswith("user_id")
    for folder, log in (("1", LOG), ("2", LOG), ("3", shuffled)):
        sequence_split.run(project(tmp_path / folder, log))
    first, second, third = (Layout(tmp_path / folder).sequences for folder in "123")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
        assert path.read_bytes() == (third / path.name).read_bytes()


def test_mistakes_leave_what_was_there(tmp_path: Path) -> None:
    layout = project(tmp_path)
    sequence_split.run(layout)
    before = {path: path.read_bytes() for path in layout.sequences.iterdir()}
    params = layout.params.read_text()
    for settings, words in (
        ("protocol: leave-on-out", "did you mean 'leave-one-out'"),
        ("minimum_user_interactions: 99", "no user has at least 99"),
        ("test_from: 2024-01-01", "test_from"),
    ):
        name = settings.partition(":")[0]
        kept = [line for line in params.splitlines() if name not in line]
        layout.params.write_text("\n".join([*kept, f"  {settings}"]) + "\n")
        with pytest.raises(UserError, match=words) as failure:
            sequence_split.run(layout)
        assert "\n" not in str(failure.value)
        assert {path: path.read_bytes() for path in layout.sequences.iterdir()} == before


def test_missing_and_damaged_interactions(tmp_path: Path) -> None:
    layout = project(tmp_path)
    path = layout.interactions / "interactions.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        sequence_split.run(layout)
    path.unlink()
    with pytest.raises(UserError, match="it is written by 'ingest'"):
        sequence_split.run(layout)
    assert not layout.sequences.exists()


def test_several_targets_of_a_user_are_in_the_report_and_the_store(tmp_path: Path) -> None:
    """From 16 on: ann q t, bob s, cy p; before it p q r, p q and q."""
    cut = {"protocol": "global-time", "test_from": "1970-01-01T00:00:16Z"}
    layout = project(tmp_path, targets="successive", **cut)
    sequence_split.run(layout)
    assert report(layout)["targets"] == "successive"
    assert report(layout)["test"] == {
        "users": 3,
        "cold_targets": 2,
        "users_without_history": 0,
        "targets": 4,
    }
    data = SequenceData.load(layout.sequences)
    cases = data.cases("test")
    assert cases.users.tolist() == [0, 0, 1, 2]
    names = [*data.vocabulary.items, "cold"]
    assert [names[item] for item in cases.targets] == ["q", "cold", "cold", "p"]
    assert cases.histories.lengths.tolist() == [3, 4, 2, 1]


def test_leave_one_out_says_nothing_of_targets(tmp_path: Path) -> None:
    layout = project(tmp_path)
    sequence_split.run(layout)
    assert "targets" not in report(layout)
