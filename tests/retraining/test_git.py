import subprocess
from pathlib import Path

import pytest

from recctl.errors import MayPass, UserError
from recctl.retraining import git

MINE = ["data.dvc", "dvc.lock"]


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and nobody's name set."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
    folder = tmp_path / "tree"
    folder.mkdir()
    run(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "data.dvc").write_text("one\n")
    (folder / "notes.txt").write_text("one\n")
    run(folder, "add", ".")
    run(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    return folder


def last(folder: Path) -> set[str]:
    """The files of the last commit."""
    return set(run(folder, "show", "--name-only", "--format=", "HEAD").split())


def test_only_the_files_named_are_committed(tree: Path) -> None:
    (tree / "data.dvc").write_text("two\n")
    (tree / "dvc.lock").write_text("new\n")
    (tree / "notes.txt").write_text("half a thought\n")
    (tree / "staged.txt").write_text("for the next commit of mine\n")
    run(tree, "add", "staged.txt")
    assert git.changed(tree, MINE) == MINE
    commit = git.commit_only(tree, MINE, "Retraining: rejected\n\nwhy")
    assert run(tree, "rev-parse", "--short", "HEAD").strip() == commit
    assert last(tree) == set(MINE)
    assert run(tree, "status", "--porcelain").splitlines() == [" M notes.txt", "A  staged.txt"]
    assert run(tree, "log", "-1", "--format=%an <%ae>|%s").strip() == (
        "recctl <recctl@localhost>|Retraining: rejected"
    )
    assert git.changed(tree, MINE) == []


def test_a_file_that_is_staged_half_way_is_committed_as_it_is_now(tree: Path) -> None:
    """As after a kill between `git add` and `git commit`."""
    (tree / "data.dvc").write_text("two\n")
    run(tree, "add", "data.dvc")
    (tree / "data.dvc").write_text("three\n")
    git.commit_only(tree, git.changed(tree, MINE[:1]), "again")
    assert run(tree, "show", "HEAD:data.dvc") == "three\n"


def test_a_project_in_a_folder_of_the_repository(tree: Path) -> None:
    inner = tree / "recommender"
    inner.mkdir()
    (inner / "data.dvc").write_text("two\n")
    assert git.root(inner) == tree
    assert git.changed(inner, MINE[:1]) == ["data.dvc"]
    git.commit_only(inner, ["data.dvc"], "inner")
    assert last(tree) == {"recommender/data.dvc"}


def test_a_name_that_is_set_is_the_one_committed_by(tree: Path) -> None:
    run(tree, "config", "user.email", "ann@example.com")
    run(tree, "config", "user.name", "Ann")
    (tree / "data.dvc").write_text("two\n")
    git.commit_only(tree, ["data.dvc"], "by Ann")
    assert run(tree, "log", "-1", "--format=%ae").strip() == "ann@example.com"


def test_nothing_is_committed_in_the_middle_of_a_merge(tree: Path) -> None:
    (tree / ".git" / "MERGE_HEAD").write_text(run(tree, "rev-parse", "HEAD"))
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(UserError, match="in the middle of a merge"):
        git.commit_only(tree, ["data.dvc"], "no")
    assert run(tree, "log", "--format=%s").split() == ["first"]


def test_nothing_is_committed_on_no_branch(tree: Path) -> None:
    run(tree, "checkout", "--quiet", "--detach")
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(UserError, match="is on no branch"):
        git.commit_only(tree, ["data.dvc"], "no")


def test_another_git_at_work_may_pass(tree: Path) -> None:
    (tree / ".git" / "index.lock").touch()
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(MayPass, match="'git add' failed"):
        git.commit_only(tree, ["data.dvc"], "no")


def test_no_repository_is_no_error(tmp_path: Path) -> None:
    assert git.root(tmp_path) is None


@pytest.fixture
def upstream(tree: Path, tmp_path: Path) -> Path:
    """A bare repository that `tree` pushes to."""
    bare = tmp_path / "upstream.git"
    run(tmp_path, "clone", "--quiet", "--bare", str(tree), str(bare))
    run(tree, "remote", "add", "origin", str(bare))
    run(tree, "fetch", "--quiet")
    run(tree, "branch", "--quiet", "--set-upstream-to=origin/main")
    return bare


def colleague(upstream: Path, name: str, text: str) -> None:
    """Somebody else pushes a file."""
    other = upstream.parent / "other"
    run(upstream.parent, "clone", "--quiet", str(upstream), str(other))
    (other / name).write_text(text)
    run(other, "add", ".")
    run(other, "-c", "user.name=b", "-c", "user.email=b@c", "commit", "-qm", "theirs")
    run(other, "push", "--quiet")


def test_a_push_goes_on_top_of_what_others_pushed(tree: Path, upstream: Path) -> None:
    colleague(upstream, "readme.txt", "theirs")
    (tree / "data.dvc").write_text("two\n")
    git.commit_only(tree, ["data.dvc"], "ours")
    git.push(tree)
    assert run(upstream, "log", "--format=%s").split() == ["ours", "theirs", "first"]


def test_a_push_never_decides_between_two_versions_of_the_data(tree: Path, upstream: Path) -> None:
    colleague(upstream, "data.dvc", "theirs")
    (tree / "data.dvc").write_text("two\n")
    git.commit_only(tree, ["data.dvc"], "ours")
    with pytest.raises(UserError, match="disagree on"):
        git.push(tree)
    assert run(upstream, "log", "--format=%s").split() == ["theirs", "first"]
    assert run(tree, "log", "--format=%s").split() == ["ours", "first"]
    assert (tree / "data.dvc").read_text() == "two\n"


def test_a_push_leaves_uncommitted_work_alone(tree: Path, upstream: Path) -> None:
    colleague(upstream, "readme.txt", "theirs")
    (tree / "data.dvc").write_text("two\n")
    git.commit_only(tree, ["data.dvc"], "ours")
    (tree / "notes.txt").write_text("half a thought\n")
    with pytest.raises(UserError, match="uncommitted changes here"):
        git.push(tree)
    assert (tree / "notes.txt").read_text() == "half a thought\n"


def test_a_remote_that_is_away_may_pass(tree: Path, upstream: Path) -> None:
    run(tree, "remote", "set-url", "origin", "https://user:secret@127.0.0.1:9/x.git")
    with pytest.raises(MayPass) as error:
        git.push(tree)
    assert "secret" not in str(error.value)
