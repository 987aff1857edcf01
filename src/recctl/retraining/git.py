"""What a retraining asks of git."""

import os
import subprocess
from pathlib import Path

from recctl.errors import MayPass, UserError

_SECONDS = 300
_PASSING = ("index.lock", "Could not resolve host", "Connection", "timed out", "unable to access")
"""Words of git's that speak of another git at work or of a network that is away."""


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

    What a person staged stays staged. Raises UserError on no branch, and in the middle of a merge
    or a rebase.
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
    done = _run(folder, *_identity(folder), "rebase", "--quiet", "@{upstream}")
    if done.returncode != 0:
        _run(folder, "rebase", "--abort")
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
    for name in ("MERGE_HEAD", "rebase-merge", "rebase-apply", "CHERRY_PICK_HEAD"):
        path = Path(git(folder, "rev-parse", "--git-path", name).strip())
        if (folder / path).exists():
            raise UserError(
                f"{folder} is in the middle of a merge or a rebase: nothing was committed",
                "end or abort it; the next retraining commits then",
            )


def _identity(folder: Path) -> list[str]:
    """A name to commit by where nobody has set one."""
    if _run(folder, "config", "user.email").stdout.strip() or os.environ.get("GIT_AUTHOR_EMAIL"):
        return []
    return ["-c", "user.name=recctl", "-c", "user.email=recctl@localhost"]


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; UserError with its own words when it fails."""
    done = _run(folder, *arguments)
    _require(done, next(one for one in arguments if not one.startswith("-") and "=" not in one))
    return done.stdout


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("git is not installed", "install it, or set retrain.publish off") from None
    except subprocess.TimeoutExpired:
        what = f"'git {arguments[0]}' did not end in {_SECONDS} s"
        raise MayPass(what, "the next retraining tries again") from None


def _require(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode == 0:
        return
    from recctl.tracking import redact

    reason = " ".join(redact(done.stderr or done.stdout).split())[:300]
    passing = any(word in reason for word in _PASSING) and "returned error: 4" not in reason
    kind = MayPass if passing else UserError
    raise kind(f"'git {what}' failed: {reason or 'it gives no reason'}", "mend that")
