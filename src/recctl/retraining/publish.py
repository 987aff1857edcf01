"""Telling git and DVC's remote what a retraining came to; safe to do again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recctl import pipeline
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.retraining import git
from recctl.retraining.params import Publish

FILES = ["data.dvc", "dvc.lock"]
"""All that is ever committed."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """What was told to whom; None and False where there was nothing to tell or it is off."""

    commit: str | None = None
    """The commit's short hash."""
    pushed_data: bool = False
    pushed_git: bool = False


def publish(
    layout: Layout, params: Publish, message: str, say: Say, lock: Lock | None = None
) -> Published:
    """Push DVC's data, commit data.dvc and dvc.lock, push git; as far as each is wanted.

    In this order, so that no commit names data that the remote lacks. What else is changed or
    staged in the working tree is left as it is. Raises MayPass or UserError when a step fails;
    doing it all again is right then.
    """
    tree = git.root(layout.root)
    pushed = params.push_data and _push_data(layout, tree, say, lock)
    commit = None
    if params.commit and tree is None:
        say("not committed: the project is not in a git repository")
    elif params.commit:
        commit = _commit(layout, message, say)
    if params.push_git and tree is not None:
        git.push(layout.root)
        say("pushed to git's remote")
    return Published(commit, pushed, params.push_git and tree is not None)


def _commit(layout: Layout, message: str, say: Say) -> str | None:
    there = [name for name in FILES if (layout.root / name).is_file()]
    changed = git.changed(layout.root, there)
    if not changed:
        return None
    commit = git.commit_only(layout.root, changed, message)
    say(f"committed {' and '.join(changed)} as {commit}")
    return commit


def _push_data(layout: Layout, tree: Path | None, say: Say, lock: Lock | None) -> bool:
    """Push to the default remote, but never into the repository itself: git would carry it."""
    remote = pipeline.remote(layout)
    if remote is None:
        say("data not pushed: DVC has no default remote ('dvc remote add -d NAME URL')")
        return False
    name, url = remote
    if tree is not None and "://" not in url and Path(url).resolve().is_relative_to(tree):
        say(
            f"data not pushed: DVC's remote '{name}' lies in this repository; "
            "give it one of your own: 'dvc remote add -d NAME URL'"
        )
        return False
    pipeline.push(layout, say, lock=lock)
    say(f"data pushed to DVC's remote '{name}'")
    return True
