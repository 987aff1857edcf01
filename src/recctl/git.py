"""The client of git: what a retraining reads, commits and pushes."""

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recctl.errors import MayPass, UserError
from recctl.files import users_umask
from recctl.redact import redact

FILES = ["data.dvc", "dvc.lock"]
"""The only files that are ever committed."""

_SECONDS = 300
_GRACE_SECONDS = 5.0
"""Time for git to remove its locks before it is killed."""

_PASSING = ("Could not resolve host", "Connection", "timed out", "unable to access")
"""Words of git for a network that is away."""

_LOCK = re.compile(r"Unable to create '(.+?\.lock)': File exists")
"""How git names the lock of another git, which runs or was killed."""

_FOREIGN = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
)
"""Set when a hook of another git started us; they name its repository and its index."""


class GitMissing(UserError):
    """git is not installed."""


def root(folder: Path) -> Path | None:
    """The outermost working tree that holds `folder`; None only where git says there is none.

    Raises UserError where git fails, as for a repository that belongs to another user.
    """
    try:
        done = _run(folder, "rev-parse", "--show-toplevel", "--show-superproject-working-tree")
    except GitMissing:
        if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
            raise
        return None
    none = done.returncode != 0 and "not a git repository (or any" in done.stderr
    if none and not (folder / ".git").exists():  # of a damaged repository git says the same
        return None
    _require(done, "rev-parse")
    return Path(done.stdout.splitlines()[-1])


def at_head(folder: Path, name: str) -> str | None:
    """A file's text in the last commit; None where there is no such file or no commit."""
    return _shown(folder, "HEAD", name)


def at(folder: Path, revision: str, name: str) -> str | None:
    """A file's text in a revision or a DVC experiment; None where there is no such."""
    if not revision or revision.startswith("-"):  # the index, or an option
        return None
    found = _shown(folder, revision, name)
    if found is None:  # git finds the name of an experiment only by its whole path
        experiments = _run(folder, "for-each-ref", "--format=%(refname)", "refs/exps").stdout
        paths = [ref for ref in experiments.splitlines() if ref.rpartition("/")[2] == revision]
        found = _shown(folder, paths[-1], name) if paths else None
    return found


def _shown(folder: Path, revision: str, name: str) -> str | None:
    try:
        done = _run(folder, "show", f"{revision}:./{name}")
    except GitMissing:
        return None
    return done.stdout if done.returncode == 0 else None


def changed(folder: Path, names: list[str]) -> list[str]:
    """The files that differ from the last commit or are not in it."""
    status = git(folder, "status", "--porcelain", "--no-renames", "-z", "--", *names)
    return [line[3:].rpartition("/")[2] for line in status.split("\0") if line]


def commit_only(folder: Path, names: list[str], message: str) -> str:
    """Commit these files as they are now and nothing else; the commit's short hash.

    What is staged stays staged. Raises UserError on no branch, and during a merge, a revert or a
    rebase.
    """
    _require_quiet(folder)
    git(folder, "add", "--", *names)
    git(folder, *_identity(folder), "commit", "--quiet", "--message", message, "--only", *names)
    return git(folder, "rev-parse", "--short", "HEAD").strip()


def start(folder: Path, message: str) -> str:
    """Make a repository of the folder and commit all of it; the commit's short hash."""
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, *_identity(folder), "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "--short", "HEAD").strip()


def require_commit(folder: Path, names: list[str], message: str) -> None:
    """UserError or MayPass unless `commit_only` would work now; no lasting change.

    Git does each part: create a commit (on no branch), write its index, lock the branch, run the
    hooks. Names that do not exist yet must not be ignored by git.
    """
    _require_quiet(folder)
    git(folder, "add", "--dry-run", "--ignore-missing", "--", *names)
    signed = _run(folder, "config", "--type=bool", "commit.gpgSign").stdout.strip() == "true"
    tree = ("-p", "HEAD", "-m", message, "HEAD^{tree}")
    git(folder, *_identity(folder), "commit-tree", *(["-S"] if signed else []), *tree)
    git(folder, "update-index", "--force-write-index")
    head = git(folder, "rev-parse", "HEAD").strip()
    locking = _run(
        folder, "update-ref", "--stdin", text=f"start\nverify HEAD {head}\nprepare\nabort\n"
    )
    _require(locking, "update-ref")
    _rehearse_hooks(folder, message)


def _rehearse_hooks(folder: Path, message: str) -> None:
    """UserError where a hook refuses a commit with this message and no changed file."""
    with tempfile.TemporaryDirectory(prefix="recctl-commit-") as scratch:
        text = Path(scratch) / "message"
        text.write_text(message + "\n", encoding="utf-8")
        more = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _require(_run(folder, "read-tree", "HEAD", more=more), "read-tree")
        for hook, *arguments in (
            ("pre-commit",),
            ("prepare-commit-msg", str(text), "message"),
            ("commit-msg", str(text)),
        ):
            done = _run(
                folder, "hook", "run", "--ignore-missing", hook, "--", *arguments, more=more
            )
            if "is not a git command" in done.stderr:  # before 2.36
                return
            if done.returncode != 0:
                reason = " ".join((done.stderr or done.stdout).split())[:300]
                raise UserError(
                    f"git's hook '{hook}' refuses the commit: {reason or 'it gives no reason'}",
                    f"let it pass {' and '.join(FILES)}, or set retrain.publish.commit: false",
                )


def require_push(folder: Path, names: list[str]) -> None:
    """UserError or MayPass unless `push` would work once these files are committed."""
    done = _run(folder, "push", "--dry-run", "--quiet")
    if not _moved_on(done):
        _require(done, "push")
        return
    _require_clean(folder, names)
    git(folder, "fetch", "--quiet")
    if git(folder, "diff", "--name-only", "HEAD...@{upstream}", "--", *names):
        raise _disagree(folder)


def push(folder: Path) -> None:
    """Push the current branch to its upstream, rebased if that has new commits."""
    done = _run(folder, "push", "--quiet")
    if _moved_on(done):
        _rebase(folder)
        done = _run(folder, "push", "--quiet")
    _require(done, "push")


def _moved_on(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether a push was refused because others pushed since the last fetch."""
    words = ("fetch first", "non-fast-forward")
    return done.returncode != 0 and any(word in done.stderr for word in words)


def _require_clean(folder: Path, names: list[str]) -> None:
    """UserError where tracked files other than these were changed: a rebase would fail."""
    others = [f":(exclude){name}" for name in names]
    if git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", *others):
        raise UserError(
            f"the upstream of {folder} has new commits, and there are uncommitted changes here",
            "commit or drop them, then 'git pull --rebase' and 'git push'",
        )


def _disagree(folder: Path) -> UserError:
    return UserError(
        f"the branch of {folder} and its upstream disagree on data.dvc or dvc.lock",
        "'git pull --rebase' by hand, then run the retraining again",
    )


def _rebase(folder: Path) -> None:
    _require_clean(folder, [])
    git(folder, "fetch", "--quiet")
    identity = _identity(folder)
    try:
        done = _run(folder, *identity, "rebase", "--quiet", "@{upstream}")
    except BaseException:
        with contextlib.suppress(UserError):
            _run(folder, "rebase", "--abort")
        raise
    if done.returncode != 0:
        _run(folder, "rebase", "--abort")
        if _LOCK.search(done.stderr):
            _require(done, "rebase")
        raise _disagree(folder)


def _require_quiet(folder: Path) -> None:
    """UserError where a commit would be lost, or would end an operation that is under way."""
    if _run(folder, "symbolic-ref", "--quiet", "HEAD").returncode != 0:
        raise UserError(
            f"{folder} is on no branch: a commit there would be lost",
            "'git switch BRANCH', or set retrain.publish.commit: false",
        )
    if _run(folder, "rev-parse", "--quiet", "--verify", "HEAD^{commit}").returncode != 0:
        raise UserError(
            f"the branch of {folder} has no commit yet",
            "commit the project, or set retrain.publish.commit: false",
        )
    asked = [word for name in _UNDER_WAY for word in ("--git-path", name)]
    paths = git(folder, "rev-parse", *asked).splitlines()
    begun = [name for name, path in zip(_UNDER_WAY, paths, strict=True) if (folder / path).exists()]
    if begun or git(folder, "ls-files", "--unmerged", ":/"):
        raise UserError(
            f"a merge, a revert, a rebase or a bisect is under way in {folder} "
            f"({begun[0] if begun else 'unmerged files'}): nothing was changed",
            "finish or abort it, then run the command again",
        )


_UNDER_WAY = (
    "MERGE_HEAD",
    "SQUASH_MSG",
    "REVERT_HEAD",
    "CHERRY_PICK_HEAD",
    "sequencer",
    "rebase-merge",
    "rebase-apply",
    "BISECT_LOG",
)
"""What git keeps of an operation under way, which a commit in between would end."""


def _identity(folder: Path) -> list[str]:
    """Options that name a committer where none is set, or git refuses the one that is set."""
    email = _run(folder, "config", "user.email").stdout.strip() or os.environ.get(
        "GIT_AUTHOR_EMAIL"
    )
    known = ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT")
    if email and all(_run(folder, "var", name).returncode == 0 for name in known):
        return []
    return ["-c", "user.name=recctl", "-c", f"user.email={email or 'recctl@localhost'}"]


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; UserError with git's own words when it fails."""
    done = _run(folder, *arguments)
    _require(done, _command(arguments))
    return done.stdout


def _run(
    folder: Path, *arguments: str, text: str | None = None, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git to its end; `text` is its input, `more` are variables of its environment."""
    ours = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    try:
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=folder,
            env={**ours, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", **(more or {})},
            stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            umask=users_umask(),
        )
    except FileNotFoundError:
        raise GitMissing(
            "git is not installed", "install it, or set commit and push_git of retrain.publish off"
        ) from None
    with process:
        try:
            printed, complaint = process.communicate(text, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            what = f"'git {_command(arguments)}' did not end in {_SECONDS} s"
            raise MayPass(what, "the next retraining tries again") from None
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, printed, complaint)


def _end(process: subprocess.Popen[str]) -> None:
    """Terminate git, so that it removes its locks; kill it only when it does not end.

    Its pipes are not read to their end: a process that a hook started may keep them open.
    """
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()


def _command(arguments: Sequence[str]) -> str:
    """The git command among the arguments: the first that is no option and no setting."""
    return next(word for word in arguments if not word.startswith("-") and "=" not in word)


def _require(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode == 0:
        return
    text = redact(done.stderr or done.stdout)
    reason = " ".join(text.split())[:300]
    what = f"'git {what}' failed: {reason or 'it gives no reason'}"
    if lock := _LOCK.search(text):
        raise MayPass(what, f"if no git runs there, remove {lock[1]}")
    passing = any(word in reason for word in _PASSING) and "returned error: 4" not in reason
    kind = MayPass if passing else UserError
    raise kind(what, "fix that")
