"""What a service keeps comes into the data exactly once, wherever a process is killed."""

import errno
import json
import os
import resource
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import intake_cases as cases
import intake_deaths
import pyarrow.parquet as pq
import pytest

import programs
from recctl import journal, limits
from recctl.layout import Layout

EVENTS = [
    ("u1", "i1", 1_790_000_000_000_001, None, "r1"),
    ("u1", "i1", 1_790_000_000_000_002, None, None),
    ("new", "<i>\n9", 1_790_000_000_000_001, None, None),
]
KEYS = [event[:3] for event in EVENTS]
SOURCE = {"kind": "folder", "path": ".recctl/served/events"}


def held(layout: Layout) -> list[Any]:
    """User, item and time of all rows in whole files."""
    files = journal.events(layout).files()
    return [tuple(row[:3]) for path in files for row in journal.read_events(path)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intake waits for no file to be older."""
    monkeypatch.setattr(limits, "SETTLED", 0.0)


@pytest.mark.parametrize(
    "ingest",
    [
        {},
        {"time_unit": "ms", "user_column": "Request", "item_column": "weight"},
        {"time_format": "%d/%m/%Y", "weight_column": "rating", "minimum_weight": 2.0},
    ],
)
def test_an_intake_takes_each_event_once(project: Layout, ingest: dict[str, Any]) -> None:
    """Whatever the columns and times of the log are."""
    columns = [ingest.get(f"{name}_column", f"{name}_id") for name in ("user", "item")]
    extra, value = (",rating", ",5") if "weight_column" in ingest else ("", "")
    time = "13/12/2015" if "time_format" in ingest else "1450000000000"
    header = ",".join([*columns, "timestamp"]) + extra
    (project.data / "log.csv").write_text(f"{header}\nu1,i1,{time}{value}\n")
    cases.set_params(project.root, [SOURCE], **ingest)
    weight = 3.0 if extra else None
    rows = [(user, item, us, weight, request) for user, item, us, _, request in EVENTS]
    events = journal.events(project)
    events.append([rows[:2], rows[2:]])
    assert held(project) == []
    assert (cases.take(project).new, cases.stored(project)) == (3, KEYS)
    events.append([rows])  # a client's repeat
    assert cases.take(project).new == 0
    assert cases.stored(project) == KEYS
    assert held(project) == KEYS * 2  # in taken/
    if ingest.get("minimum_weight"):
        assert {len(pq.read_schema(path).names) for path in events.files()} == {5}


def test_a_log_that_is_made_a_file_again_after_an_intake(project: Layout) -> None:
    """Killed before the log was deleted; then another process added to it."""
    cases.set_params(project.root, [SOURCE])
    events = journal.events(project)
    events.append([EVENTS[:2]])
    [log] = project.served.glob("*.jsonl")
    content = log.read_bytes()
    assert cases.take(project).new == 2
    log.write_bytes(content)
    assert cases.take(project).new == 0
    log.write_bytes(content)
    events.append([EVENTS[2:]])
    assert cases.take(project).new == 1
    assert sorted(cases.stored(project)) == sorted(KEYS)


def test_killed_at_every_step_nothing_confirmed_is_lost(tmp_path: Path) -> None:
    def work(folder: Path, moment: int | None) -> list[str]:
        events = journal.events(Layout(folder))
        confirmed = (folder / "confirmed").open("a", buffering=1)
        seen = intake_deaths.watch(moment)
        for number in range(3):
            events.append([[(f"u{number}", "i", number, None, None)]])
            confirmed.write(f"u{number}\n")
            if number == 1:
                events.finish()
        return seen

    def project(name: str) -> Layout:
        (tmp_path / name).mkdir()
        cases.set_params(tmp_path / name, [])
        return Layout(tmp_path / name)

    code, steps = programs.apart(lambda: work(project("whole").root, None))
    assert code == 0
    assert len([step for step in steps if step.startswith("fsync")]) >= 7
    assert len([step for step in steps if step.startswith("os.re")]) >= 2
    for moment in range(1, len(steps) + 1):
        layout = project(str(moment))
        code, _ = programs.apart(lambda at=moment, root=layout.root: work(root, at))  # type: ignore[misc]
        assert code == -9
        journal.events(layout).append([[("after", "i", 9, None, None)]])
        journal.events(layout).finish()
        counted = Counter(user for user, *_ in held(layout))
        confirmed = (layout.root / "confirmed").read_text().split()
        assert {*confirmed, "after"} <= set(counted)
        assert set(counted.values()) == {1}, steps[moment - 1]
        assert all(path.name.startswith("events-") for path in layout.served.glob("events/*"))
        assert not list(layout.served.glob("*.jsonl"))


def test_a_line_that_was_cut_off_spoils_no_other(project: Layout) -> None:
    events = journal.events(project)
    events.append([EVENTS[:1]])
    [log] = project.served.glob("*.jsonl")
    line = json.dumps([EVENTS[1]]).encode()
    for end in range(1, len(line)):
        log.write_bytes(json.dumps([EVENTS[0]]).encode() + b"\n" + line[:end])
        events.append([EVENTS[2:]])
        assert [tuple(row[:3]) for row in journal._rows(log)] == [KEYS[0], KEYS[2]]


def test_a_full_disk_leaves_what_was_there(project: Layout) -> None:
    """The limit on a file's size stands for the disk's: a part of the rows is written first."""
    events = journal.events(project)
    events.append([EVENTS[:1]])
    [log] = project.served.glob("*.jsonl")
    content = log.read_bytes()
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) + 20, former[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            events.append([EVENTS[1:]])
        assert log.read_bytes() == content
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            events.finish()
        assert cases.names(project.served / "events") == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    events.append([EVENTS[1:2]])
    events.finish()
    assert held(project) == KEYS[:2]


def test_nothing_is_made_where_nothing_was_kept(project: Layout) -> None:
    journal.events(project).finish()
    assert journal.events(project).files() == []
    assert not project.served.exists()


def test_the_rows_of_a_file_moved_or_damaged(project: Layout) -> None:
    events = journal.events(project)
    events.append([EVENTS])
    events.finish()
    [path] = events.files()
    (path.parent / "taken").mkdir()
    shutil.move(path, path.parent / "taken" / path.name)
    assert [tuple(row[:3]) for row in journal.read_events(path)] == KEYS
    path.write_bytes(b"PAR1")
    assert journal.read_events(path) == []


def test_exposures_have_their_own_columns(project: Layout) -> None:
    shown = journal.exposures(project)
    shown.append([[("r1", 1_790_000_000_000_001, "pseudonym", 4, 5, ["i1", "i2"])]])
    shown.append([[("r2", 1_790_000_000_000_002, None, 4, 5, [])]])
    journal.events(project).finish()
    assert shown.files() == []
    shown.finish()
    [path] = shown.files()
    table = pq.read_table(path)
    assert table.schema.equals(journal.EXPOSURES)
    assert table.to_pylist()[0] == {
        "request": "r1",
        "time": datetime.fromtimestamp(1_790_000_000, UTC).replace(microsecond=1),
        "user": "pseudonym",
        "version": 4,
        "decision": 5,
        "items": ["i1", "i2"],
        "challenger": None,
        "given_by": None,
    }
    assert table["items"].to_pylist() == [["i1", "i2"], []]
