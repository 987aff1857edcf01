"""What a retraining asks of git."""

import contextlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from recctl.errors import MayPass, UserError
from recctl.files import users_umask

_SECONDS = 300
_GRACE_SECONDS = 5.0
"""What git gets to remove its locks before it is killed."""

_PASSING = ("Could not resolve host", "Connection", "timed out", "unable to access")
"""Words of git's that speak of a network that is away."""

_LOCK = re.compile(r"Unable to create '(.+?\.lock)': File exists")
"""How git names the lock of another git, at work or gone without having removed it."""


def root(folder: Path) -> Path | None:
    """The working tree that holds `folder`; None where git has none."""
    done = _run(folder, "rev-parse", "--show-toplevel")
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def changed(folder: Path, names: list[str]) -> list[str]:
    """Those of the files that differ from the last commit, or that no commit holds yet."""
    found = git(folder, "status", "--porcelain", "--no-renames", "-z", "--", *names)
    return [line[3:].rpartition("/")[2] for line in found.split("\0") if line]


def commit_only(folder: Path, names: list[str], message: str) -> str:
    """Commit these files as they are now and nothing else, whatever is staged; its short hash.

    What a person staged stays staged. Raises UserError on no branch, and in the middle of a merge,
    a revert or a rebase.
    """
    _require_quiet(folder)
    git(folder, "add", "--", *names)
    git(folder, *_identity(folder), "commit", "--quiet", "--message", message, "--only", *names)
    return git(folder, "rev-parse", "--short", "HEAD").strip()


def push(folder: Path) -> None:
    """Push the current branch to where it comes from; where that moved on, on top of it."""
    done = _run(folder, "push", "--quiet")
    if done.returncode != 0 and ("fetch first" in done.stderr or "non-fast-forward" in done.stderr):
        _rebase(folder)
        done = _run(folder, "push", "--quiet")
    _require(done, "push")


def _rebase(folder: Path) -> None:
    if git(folder, "status", "--porcelain", "--untracked-files=no"):
        raise UserError(
            f"the branch of {folder} moved on elsewhere, and there are uncommitted changes here",
            "commit or drop them, then 'git pull --rebase' and 'git push'",
        )
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
        raise UserError(
            f"the branch of {folder} and where it comes from disagree on data.dvc or dvc.lock",
            "'git pull --rebase' by hand, then run the retraining again",
        )


def _require_quiet(folder: Path) -> None:
    if _run(folder, "symbolic-ref", "--quiet", "HEAD").returncode != 0:
        raise UserError(
            f"{folder} is on no branch: a commit there would be lost",
            "'git switch BRANCH', or set retrain.publish.commit: false",
        )
    for name in _UNDER_WAY:
        path = Path(git(folder, "rev-parse", "--git-path", name).strip())
        if (folder / path).exists():
            raise UserError(
                f"{folder} is in the middle of a merge, a revert or a rebase ({name}): "
                "nothing was committed",
                "end or abort it; the next retraining commits then",
            )


_UNDER_WAY = (
    "MERGE_HEAD",
    "SQUASH_MSG",
    "REVERT_HEAD",
    "CHERRY_PICK_HEAD",
    "sequencer",
    "rebase-merge",
    "rebase-apply",
)
"""What git keeps of something half done, and a commit in between would take for its end."""


def _identity(folder: Path) -> list[str]:
    """A name to commit by where nobody has set one."""
    if _run(folder, "config", "user.email").stdout.strip() or os.environ.get("GIT_AUTHOR_EMAIL"):
        return []
    return ["-c", "user.name=recctl", "-c", "user.email=recctl@localhost"]


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; UserError with its own words when it fails."""
    done = _run(folder, *arguments)
    _require(done, _command(arguments))
    return done.stdout


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        process = subprocess.Popen(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            umask=users_umask(),
        )
    except FileNotFoundError:
        raise UserError("git is not installed", "install it, or set retrain.publish off") from None
    with process:
        try:
            printed, complaint = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            _end(process)
            what = f"'git {_command(arguments)}' did not end in {_SECONDS} s"
            raise MayPass(what, "the next retraining tries again") from None
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, printed, complaint)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask git to end, for it removes its locks then; kill it only when it does not.

    Its pipes are not read to their end: what a hook has started may keep them open.
    """
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()


def _command(arguments: Sequence[str]) -> str:
    """The git command among the arguments: what is no option, and no setting."""
    return next(one for one in arguments if not one.startswith("-") and "=" not in one)


def _require(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode == 0:
        return
    from recctl.tracking import redact

    text = redact(done.stderr or done.stdout)
    reason = " ".join(text.split())[:300]
    what = f"'git {what}' failed: {reason or 'it gives no reason'}"
    if lock := _LOCK.search(text):
        raise MayPass(what, f"if no git is at work there, remove {lock[1]}")
    passing = any(word in reason for word in _PASSING) and "returned error: 4" not in reason
    kind = MayPass if passing else UserError
    raise kind(what, "mend that")
