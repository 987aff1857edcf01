import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from recctl import git
from recctl.errors import MayPass, UserError

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
    with pytest.raises(UserError, match=r"a merge, .* is under way"):
        git.commit_only(tree, ["data.dvc"], "no")
    assert run(tree, "log", "--format=%s").split() == ["first"]


def change(folder: Path, text: str, message: str) -> None:
    """Somebody writes to notes.txt and commits it."""
    (folder / "notes.txt").write_text(text)
    commit(folder, message)


def commit(folder: Path, message: str) -> None:
    run(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", message)


def half_a_revert(tree: Path) -> None:
    run(tree, "revert", "--no-commit", "HEAD")


def a_squashed_merge(tree: Path) -> None:
    run(tree, "switch", "-qc", "side", "HEAD~")
    change(tree, "two\n", "side")
    run(tree, "switch", "-q", "main")
    run(tree, "reset", "-q", "--hard", "HEAD~")
    run(tree, "merge", "-q", "--squash", "side")


def the_first_of_two_picks(tree: Path) -> None:
    run(tree, "switch", "-qc", "side", "HEAD~")
    for text in ("three\n", "four\n"):
        change(tree, text, "side")
    run(tree, "switch", "-q", "main")
    done = subprocess.run(["git", "cherry-pick", "main..side"], cwd=tree, capture_output=True)
    assert done.returncode == 1, "a conflict"
    change(tree, "two and three\n", "picked")


@pytest.mark.parametrize(
    ("begin", "name"),
    [
        (half_a_revert, "REVERT_HEAD"),
        (a_squashed_merge, "SQUASH_MSG"),
        (the_first_of_two_picks, "sequencer"),
    ],
)
def test_what_a_person_has_half_done_is_left_alone(
    tree: Path, begin: Callable[[Path], None], name: str
) -> None:
    change(tree, "two\n", "second")
    begin(tree)
    before = run(tree, "log", "--format=%s")
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(UserError, match=rf"a merge, .* is under way.*\({name}\)"):
        git.commit_only(tree, ["data.dvc"], "no")
    assert (tree / ".git" / name).exists()
    assert run(tree, "log", "--format=%s") == before


def test_nothing_is_committed_on_no_branch(tree: Path) -> None:
    run(tree, "checkout", "--quiet", "--detach")
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(UserError, match="is on no branch"):
        git.commit_only(tree, ["data.dvc"], "no")


@pytest.mark.parametrize("name", ["index.lock", "refs/heads/main.lock"])
def test_another_git_at_work_may_pass_and_its_lock_is_named(tree: Path, name: str) -> None:
    """It may also be the lock of a git that lost its power: no later run gets past that one."""
    lock = tree / ".git" / name
    lock.touch()
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(MayPass, match=f"if no git runs there, remove {lock}$"):
        git.commit_only(tree, ["data.dvc"], "no")
    lock.unlink()
    git.commit_only(tree, ["data.dvc"], "yes")


class Cancelled(BaseException):
    """As Prefect cancels a run: no Exception."""


def sleeping_hook(tree: Path, name: str) -> Path:
    """A hook that takes its time; the file that it writes when it begins."""
    begun = tree.parent / "begun"
    hook = tree / ".git" / "hooks" / name
    hook.write_text(f"#!/bin/sh\ntouch {begun}\nsleep 60\n")
    hook.chmod(0o755)
    return begun


@contextlib.contextmanager
def cancelled_at(begun: Path) -> Iterator[None]:
    """Raises Cancelled in this thread as soon as the file is there."""

    def cancel(*_: object) -> NoReturn:
        raise Cancelled

    def watch() -> None:
        while not begun.exists():
            if over.wait(0.02):
                return
        os.kill(os.getpid(), signal.SIGUSR1)

    over, watcher = threading.Event(), threading.Thread(target=watch)
    former = signal.signal(signal.SIGUSR1, cancel)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.signal(signal.SIGUSR1, former)


def locks(tree: Path) -> list[Path]:
    return list((tree / ".git").rglob("*.lock"))


def test_a_run_that_is_cancelled_leaves_no_lock_of_git(tree: Path) -> None:
    begun = sleeping_hook(tree, "pre-commit")
    (tree / "data.dvc").write_text("two\n")
    with pytest.raises(Cancelled), cancelled_at(begun):
        git.commit_only(tree, ["data.dvc"], "cancelled")
    assert locks(tree) == []
    (tree / ".git" / "hooks" / "pre-commit").unlink()
    git.commit_only(tree, ["data.dvc"], "again")
    assert run(tree, "log", "--format=%s").split() == ["again", "first"]


def test_a_git_that_takes_too_long_leaves_no_lock(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = sleeping_hook(tree, "pre-commit")
    (tree / "data.dvc").write_text("two\n")
    with monkeypatch.context() as patch:
        patch.setattr(git, "_SECONDS", 5)
        with pytest.raises(MayPass, match="'git commit' did not end in 5 s"):
            git.commit_only(tree, ["data.dvc"], "too slow")
    assert begun.exists()
    assert locks(tree) == []
    (tree / ".git" / "hooks" / "pre-commit").unlink()
    git.commit_only(tree, ["data.dvc"], "again")


def test_a_git_that_does_not_obey_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "_GRACE_SECONDS", 0.2)
    stubborn = "trap '' TERM; echo; while :; do sleep 0.1; done"
    with subprocess.Popen(["sh", "-c", stubborn], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        git._end(process)
    assert process.returncode == -signal.SIGKILL


def test_no_repository_is_no_error(tmp_path: Path) -> None:
    assert git.root(tmp_path) is None


def test_only_gits_own_word_means_no_repository(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own tests use it
    with pytest.raises(UserError, match="dubious ownership"):
        git.root(tree)
    monkeypatch.delenv("GIT_TEST_ASSUME_DIFFERENT_OWNER")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed"):
        git.root(tree)
    assert git.root(tmp_path) is None


@pytest.mark.parametrize("damage", ["HEAD", "gitdir"])
def test_a_damaged_repository_is_not_none(tree: Path, damage: str) -> None:
    if damage == "HEAD":
        (tree / ".git" / "HEAD").unlink()
    else:
        (tree / ".git").rename(tree.parent / "elsewhere")
        (tree / ".git").write_text("gitdir: /nowhere/at/all\n")
    with pytest.raises(UserError, match="not a git repository"):
        git.root(tree)


# Before anything is changed


def everything(tree: Path) -> tuple[str, str]:
    """All that git shows of branches, index and files."""
    return run(tree, "for-each-ref"), run(tree, "status", "--porcelain", "--ignored")


def detached(tree: Path) -> None:
    run(tree, "checkout", "--quiet", "--detach")


def bisecting(tree: Path) -> None:
    run(tree, "bisect", "start")


def unmerged(tree: Path) -> None:
    """A stash that does not fit: no MERGE_HEAD, but files in conflict."""
    (tree / "notes.txt").write_text("two\n")
    run(tree, "-c", "user.name=a", "-c", "user.email=a@b", "stash")
    change(tree, "three\n", "second")
    assert subprocess.run(["git", "stash", "pop"], cwd=tree, capture_output=True).returncode == 1


def ignored(tree: Path) -> None:
    (tree / ".gitignore").write_text("*.lock\n")


def hook(name: str) -> Callable[[Path], None]:
    def refusing(tree: Path) -> None:
        path = tree / ".git" / "hooks" / name
        path.write_text("#!/bin/sh\necho 'a ticket is missing' >&2; exit 1\n")
        path.chmod(0o755)

    return refusing


def unsigned(tree: Path) -> None:
    run(tree, "config", "commit.gpgSign", "true")
    run(tree, "config", "gpg.program", "/nowhere/gpg")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (detached, "is on no branch"),
        (bisecting, "BISECT_LOG"),
        (unmerged, "unmerged files"),
        (ignored, "ignored by one of your .gitignore"),
        (hook("pre-commit"), "'pre-commit' refuses the commit: a ticket is missing"),
        (hook("commit-msg"), "'commit-msg' refuses the commit: a ticket is missing"),
        (unsigned, "'git commit-tree' failed"),
    ],
)
def test_what_would_refuse_a_commit_refuses_before(
    tree: Path, spoil: Callable[[Path], None], words: str
) -> None:
    (tree / "data.dvc").write_text("two\n")
    spoil(tree)
    before = everything(tree)
    with pytest.raises(UserError, match=words):
        git.require_commit(tree, MINE, "Retraining: a rehearsal")
    assert everything(tree) == before


@pytest.mark.parametrize("name", ["index.lock", "refs/heads/main.lock", "HEAD.lock"])
def test_a_lock_of_git_is_seen_before(tree: Path, name: str) -> None:
    (tree / ".git" / name).touch()
    with pytest.raises(MayPass, match=rf"remove .*{name}"):
        git.require_commit(tree, MINE, "Retraining: a rehearsal")


def test_a_branch_without_a_commit_is_refused(tmp_path: Path, tree: Path) -> None:
    run(tmp_path, "init", "--quiet", "new")
    with pytest.raises(UserError, match="has no commit yet"):
        git.require_commit(tmp_path / "new", MINE, "Retraining: a rehearsal")


@pytest.mark.parametrize("kind", ["plain", "worktree", "shallow", "hooked"])
def test_a_rehearsal_changes_nothing(tree: Path, kind: str) -> None:
    """What is staged stays staged, in whatever form git keeps the repository."""
    place = tree
    if kind == "worktree":
        place = tree.parent / "other"
        run(tree, "worktree", "add", "--quiet", str(place))
    elif kind == "shallow":
        place = tree.parent / "other"
        run(tree.parent, "clone", "--quiet", "--depth=1", f"file://{tree}", str(place))
    elif kind == "hooked":
        path = tree / ".git" / "hooks" / "pre-commit"
        path.write_text("#!/bin/sh\ngit diff --cached --quiet\n")
        path.chmod(0o755)
    (place / "staged.txt").write_text("mine\n")
    run(place, "add", "staged.txt")
    (place / "data.dvc").write_text("two\n")
    before = everything(place)
    git.require_commit(place, MINE, "Retraining: a rehearsal")
    assert everything(place) == before


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


def diverge(tree: Path, upstream: Path, name: str = "readme.txt") -> None:
    """Somebody else pushes a file, and we commit data.dvc."""
    colleague(upstream, name, "theirs")
    (tree / "data.dvc").write_text("two\n")
    git.commit_only(tree, ["data.dvc"], "ours")


def test_a_push_goes_on_top_of_what_others_pushed(tree: Path, upstream: Path) -> None:
    diverge(tree, upstream)
    git.push(tree)
    assert run(upstream, "log", "--format=%s").split() == ["ours", "theirs", "first"]


def test_a_push_never_decides_between_two_versions_of_the_data(tree: Path, upstream: Path) -> None:
    diverge(tree, upstream, "data.dvc")
    with pytest.raises(UserError, match="disagree on"):
        git.push(tree)
    assert run(upstream, "log", "--format=%s").split() == ["theirs", "first"]
    assert run(tree, "log", "--format=%s").split() == ["ours", "first"]
    assert (tree / "data.dvc").read_text() == "two\n"


def test_a_push_that_is_cancelled_is_on_its_branch_again(tree: Path, upstream: Path) -> None:
    diverge(tree, upstream)
    begun = sleeping_hook(tree, "post-checkout")
    with pytest.raises(Cancelled), cancelled_at(begun):
        git.push(tree)
    assert run(tree, "status", "--porcelain", "--branch").split()[1] == "main...origin/main"
    assert not (tree / ".git" / "rebase-merge").exists()
    (tree / ".git" / "hooks" / "post-checkout").unlink()
    git.push(tree)
    assert run(upstream, "log", "--format=%s").split() == ["ours", "theirs", "first"]


def test_a_lock_in_the_way_of_a_push_is_no_disagreement(tree: Path, upstream: Path) -> None:
    diverge(tree, upstream)
    lock = tree / ".git" / "index.lock"
    lock.touch()
    with pytest.raises(MayPass, match=f"remove {lock}$"):
        git.push(tree)


def test_what_would_refuse_a_push_refuses_before(tree: Path, upstream: Path) -> None:
    git.require_push(tree, MINE)
    colleague(upstream, "readme.txt", "theirs")
    git.require_push(tree, MINE)
    (tree / "data.dvc").write_text("two\n")
    git.require_push(tree, MINE)  # it will be committed by then
    (tree / "notes.txt").write_text("half a thought\n")
    with pytest.raises(UserError, match="uncommitted changes here"):
        git.require_push(tree, MINE)
    run(tree, "checkout", "notes.txt")
    shutil.rmtree(upstream.parent / "other")
    colleague(upstream, "data.dvc", "theirs")
    with pytest.raises(UserError, match="disagree on"):
        git.require_push(tree, MINE)
    run(tree, "branch", "--unset-upstream")
    with pytest.raises(UserError, match="no upstream branch"):
        git.require_push(tree, MINE)


def test_a_push_leaves_uncommitted_work_alone(tree: Path, upstream: Path) -> None:
    diverge(tree, upstream)
    (tree / "notes.txt").write_text("half a thought\n")
    with pytest.raises(UserError, match="uncommitted changes here"):
        git.push(tree)
    assert (tree / "notes.txt").read_text() == "half a thought\n"


def test_a_remote_that_is_away_may_pass(tree: Path, upstream: Path) -> None:
    run(tree, "remote", "set-url", "origin", "https://user:secret@127.0.0.1:9/x.git")
    with pytest.raises(MayPass) as error:
        git.push(tree)
    assert "secret" not in str(error.value)
