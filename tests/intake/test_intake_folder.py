"""`take_in` from a drop folder: what is taken, left, refused and counted; what DVC holds then."""

import gzip
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import intake_cases as cases
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intake_cases import BASE, copied, drop, dvc, ingested, names, quiet, set_params, take, text

from recctl import dvc as dvc_client
from recctl import limits
from recctl.data import batches, versions
from recctl.datasets.use import OwnLog, use_files
from recctl.errors import MayPass, UserError
from recctl.intake import base, folder, read
from recctl.intake.intake import take_in
from recctl.intake.sync import sync
from recctl.layout import Layout

DAY = [("u1", "i9", 10), ("u3", "i1", 11)]
HOUR = 3600


@pytest.fixture
def held(template: Path, tmp_path: Path, quick_dvc: None) -> Layout:
    """A project with a real DVC."""
    return copied(template, tmp_path / "held")


def test_a_file_becomes_a_batch_and_a_version_and_moves_to_taken(held: Layout) -> None:
    drop(held, "day.csv", text(DAY))
    before = versions.digest(held)
    taken = take(held)
    [batch] = taken.batches
    assert (batch.source, batch.name, batch.rows, batch.new) == ("folder:incoming", "day.csv", 2, 2)
    assert taken.changed
    assert (taken.data_md5_before, taken.data_md5_after) == (before, versions.digest(held))
    assert batches.held(held.data) == [batch]
    assert names(held.root / "incoming") == ["taken"]
    assert names(held.root / "incoming" / "taken") == ["day.csv"]
    assert dvc(held.root, "status", "--json", "data.dvc").strip() == "{}"
    good, aside = ingested(held)
    assert good == sorted(BASE + DAY)
    assert aside == []
    assert json.loads(json.dumps(taken.as_dict()))["new"] == 2


def test_nothing_new_starts_no_dvc(held: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(held, "day.csv", text(DAY))
    first = take(held)
    for name in ("ask", "run"):
        monkeypatch.setattr(dvc_client, name, lambda *_, **__: pytest.fail("a DVC was started"))
    second = take(held)
    assert not second.changed
    assert (second.new, second.batches, second.known) == (0, [], [])
    assert second.data_md5_after == first.data_md5_after


def test_the_same_content_is_taken_once(project: Layout) -> None:
    drop(project, "day.csv", text(DAY))
    take(project)
    drop(project, "day.csv", text(DAY))
    drop(project, "other.csv", text(reversed(DAY)))
    again = take(project)
    assert [(one.name, one.rows) for one in again.known] == [("day.csv", 0), ("other.csv", 2)]
    assert not again.changed
    assert names(project.root / "incoming" / "taken") == ["day-2.csv", "day.csv", "other.csv"]


def test_all_formats_and_gzip_whatever_the_log_is(project: Layout) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {"user_id": [7.0], "item_id": ["p"], "timestamp": pd.to_datetime([20], unit="s")}
    )
    drop(project, "a.tsv", "timestamp\titem_id\tuser_id\n21\tt\tu5\n")
    drop(project, "b.jsonl", '{"user_id": 6, "item_id": "j", "timestamp": 22}\n')
    drop(project, "c.csv.gz", gzip.compress(text([("u8", "z", 23)]).encode()))
    drop(project, "d[1].csv", text([("u9", "brackets", 24)]))
    frame.to_parquet(project.root / "incoming" / "e.parquet")
    drop(project, "e.parquet", (project.root / "incoming" / "e.parquet").read_bytes())
    taken = take(project)
    assert taken.new == 5
    new = [("u5", "t", 21), ("6", "j", 22), ("u8", "z", 23), ("u9", "brackets", 24), ("7", "p", 20)]
    assert cases.stored(project) == [(u, i, t * 10**6) for u, i, t in new]
    assert [batch.late for batch in taken.batches] == [0, 0, 0, 0, 1]


def test_a_csv_without_header_is_read_by_the_columns_of_ingest(project: Layout) -> None:
    set_params(
        project.root, [cases.FOLDER], files=["log.csv"], columns=["user_id", "item_id", "timestamp"]
    )
    drop(project, "a.csv", text(DAY[:1], header=False))
    drop(project, "b.csv", "timestamp,item_id,user_id\n12,i2,u4\n")
    take(project)
    assert cases.stored(project) == [("u1", "i9", 10_000_000), ("u4", "i2", 12_000_000)]


def test_what_is_unfinished_hidden_or_a_folder_is_left_alone(project: Layout) -> None:
    for name in (".hidden.csv", "a.csv.part", "b.tmp"):
        drop(project, name, text(DAY))
    incoming = project.root / "incoming"
    (incoming / "sub").mkdir()
    (incoming / "sub" / "x.csv").write_text(text(DAY))
    (incoming / "linked").symlink_to(incoming / "sub")
    before = names(incoming)
    assert take(project).batches == []
    assert names(incoming) == before


def test_a_folder_outside_the_project_and_one_that_is_not_there(
    project: Layout, tmp_path: Path
) -> None:
    set_params(
        project.root,
        [{"kind": "folder", "path": str(tmp_path / "incoming")}, {"kind": "folder", "path": "no"}],
    )
    drop(Layout(tmp_path), "far.csv", text(DAY))
    assert take(project).new == 2
    assert names(tmp_path / "incoming" / "taken") == ["far.csv"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "hello\nworld\n", "a.csv has no column 'user_id'"),
        ("a.csv", "", "a.csv is empty"),
        ("a.parquet", "no parquet", "a.parquet is not a whole parquet file"),
        ("a.csv.gz", b"\x1f\x8b broken", "a.csv.gz is damaged or incomplete"),
        ("notes.md", "# notes", "the suffix of notes.md is not that of a known format"),
        ("a.csv", text([("u", "i", "soon")]), "none of the 1 rows of a.csv is good"),
    ],
)
def test_what_is_no_log_is_refused_with_a_reason(
    project: Layout, name: str, content: str | bytes, reason: str
) -> None:
    drop(project, name, content, age=HOUR)
    taken = take(project)
    [(refused, stated)] = taken.refused
    assert refused == name
    assert reason in stated
    assert str(project.root) not in stated
    assert not taken.changed
    aside = project.root / "incoming" / "refused"
    assert names(aside) == [name, f"{name}.txt"]
    assert (aside / f"{name}.txt").read_text() == stated + "\n"


def test_bad_rows_are_kept_for_the_quarantine_once(project: Layout) -> None:
    bad = [("u4", "i1", "soon"), ("", "i1", 5), ("u4", "", 6)]
    drop(project, "a.csv", text([*DAY, *bad, DAY[0]]))
    drop(project, "b.csv", text([*bad, ("u4", "i4", 7)]))
    first, second = take(project).batches
    assert first.bad == {"no-user": 1, "no-item": 1, "bad-time": 1}
    assert (first.rows, first.new, first.duplicates) == (6, 2, 1)
    assert (second.rows, second.new, second.duplicates, second.bad) == (4, 1, 3, {})
    good, aside = ingested(project)
    assert good == sorted([*BASE, *DAY, ("u4", "i4", 7)])
    assert aside == [("bad-time", "u4"), ("no-item", "u4"), ("no-user", "")]


def test_a_bad_file_is_read_again_because_settings_may_change(project: Layout) -> None:
    drop(project, "a.csv", text([("u5", "i5", 5), ("u6", "i6", "1970-01-01T00:00:06Z")]))
    [first] = take(project).batches
    assert (first.new, first.bad) == (1, {"bad-time": 1})
    set_params(project.root, [cases.FOLDER], time_unit="iso")
    drop(project, "a.csv", (project.root / "incoming" / "taken" / "a.csv").read_text())
    [second] = take(project).batches
    assert (second.new, second.bad) == (1, {"bad-time": 1})
    assert cases.stored(project) == [("u5", "i5", 5_000_000), ("u6", "i6", 6_000_000)]


def test_what_the_base_files_hold_is_not_new(project: Layout) -> None:
    drop(project, "a.csv", text([BASE[1], ("u9", "i9", 3), DAY[0]]))
    drop(project, "b.csv", text(BASE))
    taken = take(project)
    [batch] = taken.batches
    assert (batch.rows, batch.new, batch.duplicates, batch.late) == (3, 2, 1, 1)
    assert [(one.name, one.rows) for one in taken.known] == [("b.csv", 3)]
    good, aside = ingested(project)
    assert good == sorted([*BASE, ("u9", "i9", 3), DAY[0]])
    assert aside == []


def test_the_base_files_are_read_once_per_version(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(project, "a.csv", text([*BASE, *DAY]))
    assert take(project).new == 2
    with monkeypatch.context() as patch:
        patch.setattr(base.formats, "stage", reading := Counted(base.formats.stage))
        drop(project, "b.csv", text([*BASE, ("u4", "i4", 12)]))
        assert take(project).new == 1
        assert reading.calls == ["b.csv"]
    (project.data / "log.csv").write_text(text([*BASE, ("u5", "i5", 13)]))
    drop(project, "c.csv", text([("u5", "i5", 13), ("u6", "i6", 14)]))
    assert take(project).new == 1
    assert len(names(project.state / "intake" / "base")) == 1


class Counted:
    """Staging that records which files are read."""

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.calls: list[str] = []

    def __call__(self, connection: Any, params: Any, folder: Path, scratch: Path) -> Any:
        self.calls += [(folder / name).resolve().name for name in params.files]
        return self.stage(connection, params, folder, scratch)


def test_base_files_that_cannot_be_read_do_not_refuse_another_file(project: Layout) -> None:
    (project.data / "log.csv").write_text("hello\n")
    path = drop(project, "a.csv", text(DAY))
    with pytest.raises(UserError, match=r"data/log\.csv has no column 'user_id'"):
        take(project)
    assert path.exists()


def test_ingest_applies_the_lowest_weight(project: Layout) -> None:
    (project.data / "log.csv").write_text("user_id,item_id,timestamp,stars\nu1,i1,1,5\n")
    set_params(project.root, [cases.FOLDER], weight_column="stars", minimum_weight=3.0)
    drop(project, "a.csv", "user_id,item_id,timestamp,stars\nu2,i1,2,4\nu3,i1,3,1\nu4,i1,4,x\n")
    [batch] = take(project).batches
    assert (batch.new, batch.bad) == (2, {"bad-weight": 1})
    good, aside = ingested(project)
    assert good == [("u1", "i1", 1), ("u2", "i1", 2)]
    assert aside == [("bad-weight", "u4"), ("low-weight", "u3")]


def test_a_file_still_written_to_is_left_for_next_time(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SETTLED", 1.0)
    monkeypatch.setattr(limits, "PATIENCE", 0.0)
    path = drop(project, "a.csv", text(DAY), age=0)
    was = folder.stamp

    def growing(one: Path) -> folder.Stamp | None:
        with path.open("a") as file:
            file.write("u1,i1,99\n")
        return was(one)

    monkeypatch.setattr(folder, "stamp", growing)
    taken = take(project)
    assert taken.waiting == ["a.csv"]
    assert (taken.batches, taken.refused, path.exists()) == ([], [], True)


def test_a_file_that_rests_is_waited_for(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SETTLED", 0.2)
    drop(project, "now.csv", text(DAY), age=0)
    drop(project, "ahead.csv", text([("u7", "i7", 70)]), age=-3600)
    assert take(project).new == 3


def test_a_file_that_grew_after_it_was_read_stays(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(project, "a.csv", text(DAY))
    add = versions.take

    def and_more(layout: Layout) -> None:
        add(layout)
        path.write_text(text([*DAY, ("u5", "i5", 12)]))

    monkeypatch.setattr(versions, "take", and_more)
    assert take(project).new == 2
    monkeypatch.setattr(versions, "take", add)
    drop(project, "a.csv", path.read_text())
    assert take(project).new == 1
    assert names(project.root / "incoming") == ["taken"]


def test_sequences_have_no_times(project: Layout) -> None:
    set_params(project.root, [cases.FOLDER], format="sequences")
    with pytest.raises(UserError, match="'sequences' has no times"):
        take(project)


def test_another_set_replaces_batches_too_and_dvc_holds_them(held: Layout, tmp_path: Path) -> None:
    drop(held, "day.csv", text(DAY))
    version = take(held).data_md5_after
    log = tmp_path / "new.csv"
    log.write_text(text([("x", "y", 1_600_000_000)]))
    used = use_files(held, [log], OwnLog(), quiet)
    assert names(held.data) == ["new.csv"]
    assert used.before is not None
    assert used.before.name == version
    shutil.copy(used.before / "data.dvc", held.root / "data.dvc")
    dvc(held.root, "checkout", "--quiet", "data.dvc")
    assert [batch.name for batch in batches.held(held.data)] == ["day.csv"]


def test_what_is_missing_is_brought_from_cache_and_remote(
    held: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc(held.root, "remote", "add", "-d", "far", str(tmp_path / "remote"))
    dvc(held.root, "push", "--quiet", "data.dvc")
    shutil.rmtree(held.data)
    sync(held, quiet)
    assert names(held.data) == ["log.csv"]
    shutil.rmtree(held.data)
    shutil.rmtree(held.root / ".dvc" / "cache")
    sync(held, quiet)
    assert names(held.data) == ["log.csv"]
    for folder_ in (held.data, held.root / ".dvc" / "cache", tmp_path / "remote"):
        shutil.rmtree(folder_)
    monkeypatch.undo()  # DVC in a new process: forked from this one, a failing fetch may crash
    with pytest.raises(MayPass, match="remote gave no data/: it is unreachable"):
        sync(held, quiet)
    dvc(held.root, "remote", "modify", "--quiet", "far", "url", "http://127.0.0.1:9/x")
    with pytest.raises(MayPass, match="remote gave no data/: it is unreachable"):
        sync(held, quiet)


def test_a_change_by_hand_is_not_overwritten(held: Layout) -> None:
    (held.data / "log.csv").write_text(text(DAY))
    drop(held, "more.csv", text([("u5", "i5", 12)]))
    with pytest.raises(UserError, match=r"data/log\.csv changed by hand"):
        take(held)
    assert names(held.root / "incoming") == ["more.csv"]
    dvc(held.root, "add", "--quiet", "data")
    assert take(held).new == 1


def test_a_version_that_git_brought_is_followed(held: Layout) -> None:
    pointer = (held.root / "data.dvc").read_text()
    drop(held, "day.csv", text(DAY))
    take(held)
    (held.root / "data.dvc").write_text(pointer)
    drop(held, "day.csv", text(DAY))
    taken = take(held)
    assert taken.new == 2
    assert [batch.file[:6] for batch in batches.held(held.data)] == ["000001"]


def test_a_damaged_batch_is_named(project: Layout) -> None:
    drop(project, "day.csv", text(DAY))
    [batch] = take(project).batches
    (project.data / "intake" / batch.file).write_bytes(b"nothing")
    with pytest.raises(UserError, match="is not a batch of interactions"):
        ingested(project)


@pytest.mark.parametrize("name", [b"\xff.csv", b"two\nlines.csv", b"n" * 251 + b".csv"])
def test_strange_names_are_taken_and_shown_on_one_line(project: Layout, name: bytes) -> None:
    said: list[str] = []
    file = os.fsdecode(name)
    drop(project, file, text(DAY))
    drop(project, "bad-" + file[-200:], "hello\n")
    taken = take_in(project, said.append)
    [batch] = taken.batches
    assert batches.held(project.data) == [batch]
    assert batch.name.isprintable()
    assert json.dumps(taken.as_dict(), ensure_ascii=False).encode()
    assert all(line.isprintable() for line in said)
    assert len(names(project.root / "incoming" / "taken")) == 1
    assert len(names(project.root / "incoming" / "refused")) == 2
    assert names(project.root / "incoming") == ["refused", "taken"]


def test_a_refusal_that_was_killed_before_the_move_is_finished(tmp_path: Path) -> None:
    path, aside = tmp_path / "notes.csv", tmp_path / "refused"
    path.write_text("no log")
    aside.mkdir()
    (aside / "notes.csv.txt").write_text("it has no column\n")
    folder.refuse(path, "it has no column")
    assert names(aside) == ["notes.csv", "notes.csv.txt"]


def test_a_reason_never_replaces_a_refused_file(project: Layout) -> None:
    drop(project, "a.csv.txt", "kept\n")
    take(project)
    drop(project, "a.csv", "hello\n")
    take(project)
    aside = project.root / "incoming" / "refused"
    assert (aside / "a.csv.txt").read_text() == "kept\n"
    assert names(aside) == ["a-2.csv", "a-2.csv.txt", "a.csv.txt", "a.csv.txt.txt"]


SHORTAGES = [
    duckdb.IOException("IO Error: Could not write: No space left on device"),
    duckdb.OutOfMemoryException("Out of Memory Error: failed to offload data block"),
]


@pytest.mark.parametrize("error", SHORTAGES)
@pytest.mark.parametrize("step", ["_write", "stage"])
def test_what_the_machine_lacks_is_no_fault_of_a_file(
    project: Layout, monkeypatch: pytest.MonkeyPatch, error: duckdb.Error, step: str
) -> None:
    path = drop(project, "a.csv", text(DAY))
    drop(project, "b.csv", text([("x", "y", 12)]))
    where = read if step == "_write" else read.formats
    work, calls = getattr(where, step), []

    def lacking(*arguments: Any) -> Any:
        calls.append(step)
        if len(calls) > 1:
            return work(*arguments)
        if step == "_write":
            raise error
        try:
            raise error
        except duckdb.Error:  # as the reader of text and of parquet does
            raise UserError("incoming cannot be read") from None

    base.rows(project, read.IngestParams.load(project.params))
    with monkeypatch.context() as patch:
        patch.setattr(where, step, lacking)
        with pytest.raises(UserError, match=r"free some disk space") as caught:
            take(project)
    assert not isinstance(caught.value, MayPass)
    assert path.exists()
    assert cases.stored(project) == [("x", "y", 12_000_000)]
    assert names(project.root / "incoming") == ["a.csv", "taken"]
    assert take(project).new == 2


def test_a_full_disk_keeps_no_other_source_from_being_asked(
    project: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_params(project.root, [cases.FOLDER, {"kind": "folder", "path": str(tmp_path / "incoming")}])
    path = drop(project, "a.csv", text(DAY))
    drop(Layout(tmp_path), "b.csv", text([("x", "y", 12)]))
    commit = read._commit

    def full(written: Path, target: Path) -> None:
        monkeypatch.setattr(read, "_commit", commit)
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(read, "_commit", full)
    with pytest.raises(UserError, match="No space left on device at"):
        take(project)
    assert path.exists()
    assert cases.stored(project) == [("x", "y", 12_000_000)]


def parquet() -> bytes:
    table = pa.table({"user_id": ["u1"], "item_id": ["i9"], "timestamp": [10]})
    pq.write_table(table, file := io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "written"),
    [
        ("a.csv", text(DAY[:1]).encode(), 0),
        ("a.csv.gz", gzip.compress(text(DAY[:1]).encode()), -4),
        ("a.csv.gz", gzip.compress(text(DAY[:1]).encode()), 5),
        ("a.parquet", parquet(), -8),
        ("a.parquet", parquet(), 4),
    ],
    ids=["empty", "gzip-without-end", "gzip-begun", "parquet-without-end", "parquet-begun"],
)
def test_a_file_that_is_cut_off_is_waited_for_an_hour(
    project: Layout, name: str, content: bytes, written: int
) -> None:
    path = drop(project, name, content[:written], age=HOUR - 60)
    first = take(project)
    assert (first.waiting, first.refused, path.exists()) == ([name], [], True)
    drop(project, name, content)
    assert take(project).new == 1
    drop(project, name, content[:written], age=HOUR + 60)
    assert [one for one, _ in take(project).refused] == [name]


def test_a_damaged_gzip_is_not_waited_for(project: Layout) -> None:
    whole = gzip.compress(text(DAY).encode())
    drop(project, "a.csv.gz", whole[:12] + b"\xff\xff\xff" + whole[15:])
    assert [name for name, _ in take(project).refused] == ["a.csv.gz"]


@pytest.mark.parametrize(
    ("module", "step", "content"),
    [(folder, "_move", "hello\n"), (read, "digest", text(DAY))],
    ids=["refused", "read"],
)
def test_a_file_that_may_not_be_taken_does_not_stop_the_others(
    project: Layout, monkeypatch: pytest.MonkeyPatch, module: Any, step: str, content: str
) -> None:
    path = drop(project, "a.csv", content)
    drop(project, "b.csv", text([("x", "y", 1)]))
    work = getattr(module, step)

    def refusing(file: Path, *more: Any) -> Any:
        if file == path:
            raise PermissionError(13, "Permission denied", str(file))
        return work(file, *more)

    monkeypatch.setattr(module, step, refusing)
    with pytest.raises(UserError, match=r"a\.csv cannot be taken \(Permission denied\); give"):
        take(project)
    assert [batch.name for batch in batches.held(project.data)] == ["b.csv"]
    assert names(project.root / "incoming" / "taken") == ["b.csv"]
    assert names(project.root / "incoming" / "refused") == []
    assert path.exists()


def test_a_file_that_is_removed_while_it_is_read_is_ignored(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(project, "a.csv", text(DAY))

    def gone(one: Path) -> str:
        path.unlink()
        raise FileNotFoundError(2, "No such file or directory", str(one))

    monkeypatch.setattr(read, "digest", gone)
    taken = take(project)
    assert (taken.batches, taken.refused, taken.waiting) == ([], [], [])


def test_a_source_is_kept_when_its_batch_is_removed_during_the_intake(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = drop(project, "a.csv", text(DAY))

    def checkout(layout: Layout) -> None:  # a late one, of an intake that was killed
        shutil.rmtree(layout.data / batches.FOLDER)

    with monkeypatch.context() as patch:
        patch.setattr(versions, "take", checkout)
        with pytest.raises(MayPass, match="removed from data/intake/ during this intake"):
            take(project)
    assert path.exists()
    assert take(project).new == 2


def test_times_of_pandas_parquet_files(project: Layout) -> None:
    times = pa.array([10 * 10**9, 11 * 10**9], pa.timestamp("ns", "UTC"))
    table = pa.table({"user_id": ["u1", "u3"], "item_id": ["i9", "i1"], "timestamp": times})
    pq.write_table(table, project.root / "day.parquet")
    drop(project, "day.parquet", (project.root / "day.parquet").read_bytes())
    assert take(project).new == 2
    assert ingested(project)[0] == sorted([*BASE, *DAY])


def test_new_files_are_read_as_the_log_is(project: Layout) -> None:
    settings = {"time_format": "%d/%m/%Y", "anonymous": "drop", "encoding": "latin-1"}
    (project.data / "log.csv").write_text(text([("u1", "i1", "01/12/2010")]))
    set_params(project.root, [cases.FOLDER], **settings)
    rows = [("José", "i2", "02/12/2010"), ("", "i3", "02/12/2010")]
    drop(project, "a.csv", text(rows).replace("\n", "\r").encode("latin-1"))
    [batch] = take(project).batches
    assert (batch.new, batch.bad) == (1, {"no-user": 1})
    good, aside = ingested(project)
    assert [row[:2] for row in good] == [("José", "i2"), ("u1", "i1")]
    assert aside == [("anonymous", "")]


def test_seconds_in_a_log_of_milliseconds_are_refused(project: Layout) -> None:
    (project.data / "log.csv").write_text(text([("u1", "i1", 1_500_000_000_000)]))
    set_params(project.root, [cases.FOLDER], time_unit="ms")
    drop(project, "a.csv", text([("u1", "i2", 1_500_000_000)]))
    [(name, reason)] = take(project).refused
    assert name == "a.csv"
    assert "January 1970 in ingest.time_unit ms, such as '1500000000'" in reason
