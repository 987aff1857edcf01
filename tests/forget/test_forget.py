"""A user who is forgotten: no file and no database of the project holds the id afterwards."""

import json
import re
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import small_project as small
import tiny_project as tiny
from dvc.fs import LocalFileSystem
from forget_cases import ID, make, names_of

from commands import Run, runner
from recctl import dvc, journal, lock, pipeline
from recctl.data import batches, versions
from recctl.errors import UserError
from recctl.forget import forget as core
from recctl.forget.forget import Forgotten
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.trial import pseudonyms
from recctl.promotion.verify import verify

pytestmark = pytest.mark.usefixtures("quick_decisions", "quick_dvc", "quick_stages")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    return make(tmp_path / "project")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capfd)


def forget(layout: Layout, *users: str, **more: Any) -> Forgotten:
    options = {"reason": "asked for it", "remote": False, "dry_run": False, **more}
    with lock.held(layout, "a test"):
        return core.forget(layout, list(users or [ID]), say=lambda line: None, **options)


def wrong(layout: Layout) -> list[str]:
    """What `recctl verify --all` objects to."""
    checks = verify(history.open_registry(layout), layout, everything=True)
    return [f"{one.name}: {one.detail}" for one in checks if not one.ok]


def detail(layout: Layout, name: str) -> str:
    checks = verify(history.open_registry(layout), layout, everything=True)
    return next(one.detail for one in checks if one.name == name)


def test_nothing_holds_the_id_afterwards(project: Layout) -> None:
    """Except git's history, which has none here, for data/ is ignored."""
    places = ("data/log.csv", "data/intake/", "incoming/", ".dvc/cache/", ".recctl/", "artifacts/")
    held = names_of(project.root)
    assert all(any(name.startswith(place) for name in held) for place in places), held
    assert not any(name.startswith(("mlartifacts/", "mlflow.db")) for name in held)
    md5 = versions.digest(project)
    done = forget(project)
    assert names_of(project.root) == []
    assert versions.digest(project) == done.data_md5 != md5
    assert versions.unchanged(project)
    assert not core.is_left(project)
    assert done.trained == [1]
    assert wrong(project) == []


def test_what_was_removed_and_what_stays(project: Layout) -> None:
    root = small.git(project.root, "rev-list", "--max-parents=0", "HEAD").strip()
    earliest = versions.named(small.git(project.root, "show", f"{root}:data.dvc"), "data.dvc")
    log = pd.read_csv(project.data / "log.csv")
    header = batches.held(project.data)[0]
    done = forget(project)
    removed = {one.place: one.count for one in done.removed}
    assert removed["data/log.csv"] == (log["user"] == ID).sum() == small.DAYS
    assert removed["data/intake/"] == 2  # a good row and a bad one
    assert removed["incoming/taken/"] == 2
    assert removed["incoming/"] == removed["incoming/refused/"] == 1
    assert removed[".recctl/served/events/"] == removed[".recctl/served/exposures/"] == 2
    events, shown = journal.events(project), journal.exposures(project)
    assert [row[:3] for path in events.files() for row in journal.read_events(path)] == [
        ("u001", "i1", 1),
        ("u001", "i1", 2),
    ]
    users = [user for path in shown.files() for user in pq.read_table(path)["user"].to_pylist()]
    assert users == ["other", None] * 2
    assert journal.mark(project).exists()  # a service reads them again
    kept = pd.read_csv(project.data / "log.csv")
    pd.testing.assert_frame_equal(kept, log[log["user"] != ID].reset_index(drop=True))
    now = batches.held(project.data)[0]
    assert (now.new, now.bad) == (header.new - 1, {})
    assert now.rows == header.rows - 2
    refused = (project.root / "incoming" / "refused" / "odd.csv").read_text()
    assert refused == "name\nother\n"
    assert versions.cached(project, earliest)  # a version from before the user


def test_the_next_retraining_runs(project: Layout) -> None:
    forget(project)
    result = small.retrain(project)
    assert result.record.ending in ("promoted", "rejected")
    assert names_of(project.root) == []
    assert wrong(project) == []


def test_evidence_is_pseudonymous_and_taken_again_from_what_is_left(project: Layout) -> None:
    key = project.state / pseudonyms.KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    (path,) = (project.root / "mlartifacts").glob("*/artifacts/decision/evidence.parquet")
    table = pq.read_table(path)
    assert table.column_names[0] == "user"
    assert pseudonyms.of(key.read_bytes(), [ID])[0] in table["user"].to_pylist()
    assert table["user"].to_pylist() == sorted(table["user"].to_pylist())
    done = forget(project)
    assert {one.place: one.count for one in done.removed}["evidence of decision 1 of 'tiny'"] == 1
    assert pq.read_table(path).num_rows == table.num_rows - 1
    assert detail(project, "decision 1") == (
        "1 user erased; decided again from what is left: the same verdict, figures within tolerance"
    )
    rows = history.decisions(history.open_registry(project))
    assert [row.body.kind for row in rows if row.body] == ["promotion", "forget"]
    assert rows[-1].state == "done"
    assert rows[-1].body is not None
    assert rows[-1].body.sentence == (
        "1 user was forgotten; erased from the evidence of decisions 1; versions 1 were trained "
        "on them and stay"
    )


def test_evidence_that_was_not_erased_or_altered_is_reported(project: Layout) -> None:
    (path,) = (project.root / "mlartifacts").glob("*/artifacts/decision/evidence.parquet")
    original = path.read_bytes()
    forget(project)
    path.write_bytes(original)
    assert wrong(project) == [
        "decision 1: its evidence still holds forgotten users: run 'recctl forget'"
    ]
    path.write_bytes(original + b"x")
    assert any("was altered" in one for one in wrong(project))


def test_two_users_one_after_the_other(project: Layout) -> None:
    forget(project)
    forget(project, "u001")
    assert detail(project, "decision 1").startswith("2 users erased; ")
    assert wrong(project) == []


def test_evidence_of_an_older_recctl_loses_the_row(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds ids; those of others stay."""
    from recctl.promotion.trial import archive

    tiny.train(project, "popularity")
    monkeypatch.setattr(pseudonyms, "of", lambda key, users: list(users))
    monkeypatch.setattr(archive, "USER", archive.OLD_USER)
    tiny.promote(project)
    monkeypatch.undo()
    monkeypatch.setattr(pipeline, "stage", small.stage)
    assert any("mlartifacts" in name for name in names_of(project.root))
    forget(project)
    assert names_of(project.root) == []
    assert wrong(project) == []


def test_evidence_with_another_key_is_named(project: Layout) -> None:
    (project.state / pseudonyms.KEY).unlink()
    done = forget(project)
    assert any("evidence of decisions 1 of 'tiny'" in line for line in done.unreached)
    assert wrong(project) == []


def test_a_dry_run_changes_nothing(project: Layout, run: Run) -> None:
    before = _listing(project)
    shown = run(project.root, "forget", ID, "--reason", "asked", "--dry-run")
    assert shown.code == 0, shown.err
    assert "data/log.csv" in shown.out
    assert "nothing was changed" in shown.out
    for place in (".recctl/served/", ".recctl/served/events/", ".recctl/served/exposures/"):
        assert re.search(rf"^ *{re.escape(place)} +[12] +rows", shown.out, re.M), shown.out
    assert _listing(project) == before


def _listing(layout: Layout) -> dict[str, int]:
    skipped = ("lock", "forget-dry", ".dvc/tmp", "rwlock", "mlflow.db", "dvc-site", "synced.json")
    return {
        name: path.stat().st_mtime_ns
        for path in sorted(layout.root.rglob("*"))
        if path.is_file()
        and not any(part in (name := str(path.relative_to(layout.root))) for part in skipped)
    }


def test_a_user_nobody_knows(project: Layout, run: Run) -> None:
    shown = run(project.root, "forget", "nobody", "--reason", "asked")
    assert (shown.code, shown.err) == (
        2, "recctl: no place of this project holds user 'nobody'; check the id\n",
    )  # fmt: skip


def test_a_reason_that_names_the_user(project: Layout) -> None:
    with pytest.raises(UserError, match="the reason names the user"):
        forget(project, reason=f"{ID} asked")


def test_users_of_a_file_and_json(project: Layout, run: Run, tmp_path: Path) -> None:
    listed = tmp_path / "users.txt"
    listed.write_text(f"{ID}\nu001\n")
    shown = run(project.root, "forget", "--file", str(listed), "--reason", "asked", "--json")
    assert shown.code == 0, shown.err
    result = json.loads(shown.out)
    assert {"place": "data/log.csv", "count": 2 * small.DAYS, "what": "rows"} in result["removed"]
    assert result["decision"] == 2
    assert names_of(project.root) == []


def test_the_remote(project: Layout, tmp_path: Path) -> None:
    """What was pushed is there until --remote; versions that only the remote has count too."""
    remote = tmp_path / "remote"
    dvc.output(project, "remote", "add", "-d", "store", str(remote))
    small.git(project.root, "add", ".")
    small.git(project.root, "commit", "-qm", "data")
    dvc.output(project, "push", "data.dvc")
    for path in (project.root / ".dvc" / "cache" / "files").rglob("*"):
        if path.is_file() and path.suffix != ".dir" and b"u000" in path.read_bytes():
            path.unlink()  # only data/ and the remote have it now
    done = forget(project)
    assert any("--remote removes it" in line for line in done.unreached)
    assert names_of(remote) != []
    done = forget(project, remote=True)
    assert {one.place: one.count for one in done.removed}["DVC's remote 'store'"] >= 2
    assert names_of(remote) == []
    assert names_of(project.root) == []


def test_remotes_that_delete_nothing(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is listed in one line; the others and the cache lose the user all the same."""
    remotes = {
        "good": tmp_path / "good",
        "refusing": tmp_path / "refusing",
        "versions": "s3://bucket",
        "web": "http://127.0.0.1:9/store",
    }
    for name, url in remotes.items():
        dvc.output(project, "remote", "add", name, str(url))
    dvc.output(project, "remote", "modify", "versions", "version_aware", "true")
    for name in ("good", "refusing"):
        dvc.output(project, "push", "data.dvc", "--remote", name)
    rm = LocalFileSystem.rm

    def refuse(self: LocalFileSystem, path: list[str], **more: Any) -> None:
        if str(remotes["refusing"]) in str(path):
            raise PermissionError(13, "Permission\ndenied")
        rm(self, path, **more)

    monkeypatch.setattr(LocalFileSystem, "remove", refuse)
    done = forget(project, remote=True)
    lines = [line for line in done.unreached if "remote" in line]
    assert lines == [
        "DVC's remote 'versions': its cloud keeps versions, under names that recctl does not know",
        "DVC's remote 'web': it deletes nothing (HTTP cannot delete)",
        "DVC's remote 'refusing': it deletes nothing ([Errno 13] Permission denied)",
    ]
    assert names_of(tmp_path / "good") == []
    assert names_of(tmp_path / "refusing") != []
    assert names_of(project.root) == []


def test_versions_retire_at_the_next_promotion(project: Layout) -> None:
    small.settings(project, forget={"retire": "next-promotion"})
    forget(project)
    small.settings(project, train={"device": "cpu", "model": "markov"})
    small.retrain(project)
    registry = history.open_registry(project)
    assert registry.aliases() == {"champion": 2, "best": 2}
    with pytest.raises(UserError, match="version 1 is retired"):
        tiny.rollback(project, to=1)
    assert wrong(project) == []


def test_versions_retire_now(project: Layout) -> None:
    small.settings(project, forget={"retire": "now"})
    forget(project)
    assert history.open_registry(project).aliases() == {}
    assert wrong(project) == []
    small.settings(project, train={"device": "cpu", "model": "markov"})
    assert small.retrain(project).name == "promoted-v2"
    assert wrong(project) == []
