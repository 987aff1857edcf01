"""Which version of data/ is accepted, and the way back to it, as docs/retraining.md has it."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_project as small
import tiny_project as tiny

from commands import here
from programs import captured
from recctl import lock, pipeline
from recctl.data import versions
from recctl.errors import UserError
from recctl.files import digest
from recctl.intake import sync
from recctl.layout import Layout
from recctl.retraining import accepted, publish
from recctl.retraining.params import Publish
from recctl.retraining.run import Hooks, collect

pytestmark = pytest.mark.usefixtures("quick_decisions", "quick_dvc")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project whose dvc.lock names the first version of the data."""
    monkeypatch.setattr(pipeline, "stage", noting)
    layout = small.make(tmp_path / "project")
    note(layout, passed=True)
    small.git(layout.root, "add", ".")
    small.git(layout.root, "commit", "--quiet", "--message", "second")
    return layout


def note(layout: Layout, passed: bool) -> None:
    """dvc.lock as DVC leaves it: ingest of today's data, and validate of that if it passed."""
    made = f"made-of-{versions.digest(layout)}"
    path = layout.root / "dvc.lock"
    stages = json.loads(path.read_text())["stages"] if path.exists() else {}
    interactions = [{"path": "artifacts/interactions", "md5": made}]
    data = [{"path": "data", "md5": versions.digest(layout)}]
    stages["ingest"] = {"cmd": "ingest", "deps": data, "outs": interactions}
    if passed:
        stages["validate"] = {"cmd": "validate", "deps": interactions}
    path.write_text(json.dumps({"schema": "2.0", "stages": stages}))


def noting(layout: Layout, name: str, on_line: Any, *, lock: object = None) -> pipeline.StageRun:
    if name == "ingest":
        note(layout, passed=False)
    done = small.stage(layout, name, on_line)
    if name == "validate":
        note(layout, passed=True)
    return done


def quiet(line: str) -> None:
    pass


def take_in(layout: Layout) -> None:
    with lock.held(layout, "a test") as held:
        collect(layout, held, Hooks(say=quiet))


def at_head(layout: Layout, name: str) -> str:
    return small.git(layout.root, "show", f"HEAD:{name}")


def test_the_way_back_word_by_word(project: Layout) -> None:
    """Bad data, then the command of docs/retraining.md, then the corrected file."""
    before = {name: at_head(project, name) for name in ("data.dvc", "dvc.lock")}
    first = versions.digest(project)
    source = small.drop(project, 10, 11, "night.csv")
    content = digest(source)
    (project.root / "bad-data").touch()
    with pytest.raises(pipeline.StageFailed):
        small.retrain(project)
    rejected = str(versions.digest(project))
    assert rejected != first
    assert (project.root / "dvc.lock").read_text() == before["dvc.lock"]
    assert rejected not in small.git(project.root, "log", "--patch")

    [line] = re.findall(r"\| bad data \|.*", (ROOT / "docs" / "retraining.md").read_text())
    [command] = re.findall(r"`(recctl [^`]+)`", line)
    code, out, _ = captured(lambda: here(project.root, *shlex.split(command)[1:]))
    assert code == 0
    assert versions.digest(project) == first
    assert versions.unchanged(project)
    for name, text in before.items():
        assert (project.root / name).read_text() == text
    home = project.state / "rejected" / rejected.removesuffix(".dir")
    assert str(home.relative_to(project.root)) in out
    assert {path.suffix for path in home.iterdir()} == {".parquet", ".dvc"}
    refused = project.root / "incoming" / "refused" / "night.csv"
    assert "incoming/refused/night.csv" in out
    assert digest(refused) == content
    assert rejected in refused.with_name("night.csv.txt").read_text()

    (project.root / "bad-data").unlink()
    small.drop(project, 10, 11, "night.csv")
    fixed = small.retrain(project)
    assert fixed.intake.new == tiny.USERS
    assert at_head(project, "data.dvc") == (project.root / "data.dvc").read_text()
    assert json.loads(at_head(project, "dvc.lock"))["stages"]["ingest"]["deps"][0]["md5"] == (
        versions.digest(project)
    )


def test_two_bad_nights_go_back_to_the_version_before_both(project: Layout) -> None:
    first = versions.digest(project)
    (project.root / "bad-data").touch()
    for day in (10, 11):
        small.drop(project, day, day + 1)
        with pytest.raises(pipeline.StageFailed):
            small.retrain(project)
    done = accepted.reject(project, quiet)
    assert (done.accepted, len(done.batches), len(done.moved)) == (first, 2, 2)
    with pytest.raises(UserError, match="nothing was taken into data/ since"):
        accepted.reject(project, quiet)


def test_a_version_that_passed_is_not_taken_out_with_a_later_one(project: Layout) -> None:
    small.drop(project, 10, 11)
    take_in(project)
    note(project, passed=True)
    second = versions.digest(project)
    small.drop(project, 11, 12)
    take_in(project)
    note(project, passed=False)
    assert accepted.reject(project, quiet).accepted == second


def test_without_a_note_of_ours_gits_last_commit_says_it(project: Layout) -> None:
    first = versions.digest(project)
    small.drop(project, 10, 11)
    take_in(project)
    (project.state / "accepted.json").unlink()
    assert accepted.reject(project, quiet).accepted == first


def test_other_base_files_are_not_gone_back_from(project: Layout) -> None:
    small.write_days(project.data / "log.csv", 0, 12)
    versions.add(project)
    (project.state / "accepted.json").unlink(missing_ok=True)
    with pytest.raises(UserError, match="recctl data use"):
        accepted.reject(project, quiet)


def test_a_lock_of_other_data_is_never_published(project: Layout) -> None:
    """As after the data was gone back to by hand, with dvc.lock left behind."""
    small.retrain(project)
    former = at_head(project, "dvc.lock")
    wrong = former.replace(str(versions.digest(project)), "0" * 32 + ".dir")
    (project.root / "dvc.lock").write_text(wrong)
    publish.publish(project, Publish(), "again", quiet)
    assert at_head(project, "dvc.lock") == (project.root / "dvc.lock").read_text() == former


# The cache


def test_a_lost_cache_is_filled_again_from_data(project: Layout) -> None:
    sync.sync(project, quiet)
    shutil.rmtree(project.root / ".dvc" / "cache")
    sync.sync(project, quiet)
    assert versions.cached(project, versions.digest(project))


def test_data_is_never_removed_for_a_version_that_nothing_holds(project: Layout) -> None:
    """`dvc checkout --force` would: the cache is gone and data.dvc names another version."""
    small.drop(project, 10, 11)
    take_in(project)
    former = small.git(project.root, "show", "HEAD:data.dvc")
    shutil.rmtree(project.root / ".dvc" / "cache")
    listed = sync.listing(project)
    (project.root / "data.dvc").write_text(former)
    with pytest.raises(UserError, match="cache lacks version"):
        sync.sync(project, quiet)
    assert sync.listing(project) == listed
    assert (project.root / "data.dvc").read_text() == former


def test_a_change_by_hand_is_no_version_when_the_cache_is_lost(project: Layout) -> None:
    sync.sync(project, quiet)
    shutil.rmtree(project.root / ".dvc" / "cache")
    small.write_days(project.data / "log.csv", 0, 5)
    before = versions.digest(project)
    with pytest.raises(UserError, match="cache lacks version"):
        sync.sync(project, quiet)
    assert versions.digest(project) == before
