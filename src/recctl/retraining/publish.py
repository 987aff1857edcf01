"""Publishing the result of a retraining to git and to DVC's remote; idempotent."""

import http.client
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from recctl import dvc, git
from recctl.config import read_yaml
from recctl.errors import MayPass, UserError
from recctl.git import FILES
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.redact import redact
from recctl.render.text import Say
from recctl.retraining import accepted
from recctl.retraining.params import Publish

_ANSWER_SECONDS = 10.0
"""Timeout of the request that checks whether the server of a remote answers."""


@dataclass(frozen=True)
class Published:
    """What was published; None and False where nothing had changed or it is switched off."""

    commit: str | None = None
    """The commit's short hash."""
    pushed_data: bool = False
    pushed_git: bool = False


def publish(
    layout: Layout, params: Publish, message: str, say: Say, lock: Lock | None = None
) -> Published:
    """Push DVC's data, commit data.dvc and dvc.lock, push git; as far as each is wanted.

    In this order, so that no commit names data that the remote lacks. Other changes of the working
    tree, staged or not, are left alone. Raises MayPass or UserError when a step fails; it can be
    repeated then.
    """
    tree = git.root(layout.root) if params.wanted else None
    files = FILES
    if not accepted.settle_lock(layout, say):
        say("dvc.lock is of another version of data/: not committed; 'dvc repro' updates it")
        files = FILES[:1]
    pushed = params.push_data and _push_data(layout, tree, files, say, lock)
    commit = None
    if params.commit and tree is None:
        say("not committed: the project is not in a git repository")
    elif params.commit:
        commit = _commit(layout, files, message, say)
    if params.push_git and tree is not None:
        git.push(layout.root)
        say("pushed to git's remote")
    return Published(commit, pushed, params.push_git and tree is not None)


def require_possible(layout: Layout, params: Publish) -> None:
    """MayPass or UserError unless `publish` would work now; changes nothing."""
    for name in (*FILES, "dvc.yaml"):
        if (layout.root / name).is_file():
            read_yaml(layout.root / name)
    tree = git.root(layout.root) if params.wanted else None
    if params.commit and tree is not None:
        git.require_commit(layout.root, FILES, _REHEARSED)
    if params.push_git and tree is not None:
        git.require_push(layout.root, FILES)
    remote = dvc.remote(layout) if params.push_data else None
    if remote is not None and not _is_within(remote[1], tree):
        _require_remote(layout, *remote)


_REHEARSED = "Retraining: a rehearsal\n\nNo branch holds this commit."
"""The message of the commit that `require_possible` tries."""


def _require_remote(layout: Layout, name: str, url: str) -> None:
    """MayPass or UserError unless data can be pushed to this remote now; changes nothing."""
    if "://" not in url:
        _require_writable(name, Path(url))
    elif url.startswith(("http://", "https://")):
        _require_answer(name, url)
    else:
        code, lines = dvc.run(layout, ["status", "--cloud", "data.dvc"])
        if code != 0:
            raise dvc.failure(f"DVC's remote '{name}' cannot be used", code, lines)


def _require_writable(name: str, folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"DVC's remote '{name}' cannot be written to: {existing}",
            "make that folder writable, or name another remote: 'dvc remote modify'",
        )


def _require_answer(name: str, address: str) -> None:
    """MayPass unless a server answers, be it with a refusal; DVC takes silence for an answer."""
    reason = None
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as answer:
        reason = f"HTTP {answer.code}" if answer.code >= 500 or answer.code == 429 else None
    except urllib.error.URLError as error:
        reason = None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error)
    if reason:
        raise MayPass(f"DVC's remote '{name}' does not answer at {redact(address)} ({reason})")


def _is_within(url: str, tree: Path | None) -> bool:
    """Whether a remote is a folder of the repository, which would then contain the data."""
    return tree is not None and "://" not in url and Path(url).resolve().is_relative_to(tree)


def _commit(layout: Layout, files: list[str], message: str, say: Say) -> str | None:
    there = [name for name in files if (layout.root / name).is_file()]
    changed = git.changed(layout.root, there)
    if not changed:
        return None
    commit = git.commit_only(layout.root, changed, message)
    say(f"committed {' and '.join(changed)} as {commit}")
    return commit


def _push_data(
    layout: Layout, tree: Path | None, files: list[str], say: Say, lock: Lock | None
) -> bool:
    """Push to the default remote, unless that is a folder of the repository."""
    remote = dvc.remote(layout)
    if remote is None:
        say("data not pushed: DVC has no default remote ('dvc remote add -d NAME URL')")
        return False
    name, url = remote
    if _is_within(url, tree):
        say(
            f"data not pushed: DVC's remote '{name}' is a folder of this repository; "
            "add a remote elsewhere: 'dvc remote add -d NAME URL'"
        )
        return False
    dvc.push(layout, say, *(() if files == FILES else files), lock=lock)
    say(f"data pushed to DVC's remote '{name}'")
    return True
