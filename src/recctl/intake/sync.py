"""Brings `data/` in line with data.dvc, before an intake or a training."""

import json
import re
from pathlib import Path

from recctl.data import batches, versions
from recctl.errors import UserError
from recctl.files import locked, recover_folder, write_json
from recctl.layout import Layout
from recctl.render.text import Say

Listing = dict[str, list[int]]

BUSY = "another intake or 'recctl data use' is running in this project"


def sync(layout: Layout, say: Say) -> None:
    """Bring `data/` in line with data.dvc.

    Missing files are pulled; batches that a killed intake left are added. Raises UserError when
    data/ was changed by hand, MayPass when the remote does not answer or the project is busy.
    """
    with locked(layout.state / "data.lock", BUSY):
        bring(layout, say)


def bring(layout: Layout, say: Say) -> None:
    """The same for a caller that holds the lock."""
    recover_folder(layout.data)
    version = versions.digest(layout)
    if version is None:
        raise _unversioned(layout)
    noted = _noted(layout)
    seen = listing(layout)
    cached = versions.cached(layout, version)
    if seen and noted == (version, seen) and cached:
        return
    if not seen:
        say(f"data/ is missing: restoring version {version[:8]}")
        versions.bring(layout)
    elif noted is not None and noted[1] == seen and noted[0] != version:
        say(f"data.dvc names another version of data/: checking out {version[:8]}")
        if not versions.cached(layout, noted[0]):
            versions.hold(layout)  # only data/ has it
        versions.bring(layout)
    elif not cached and versions.matches(layout):
        say("DVC's cache lacks files of data/: they are added from data/")
        versions.take(layout)
    elif not cached or not versions.unchanged(layout):
        _repair(layout, say, cached)
    note(layout, listing(layout))


def _unversioned(layout: Layout) -> UserError:
    if layout.data.is_dir() and any(layout.data.iterdir()):
        return UserError("DVC does not hold data/ yet", "keep it with 'dvc add data'")
    return UserError("there is no data yet", "run 'recctl data use'")


_LEFTOVER = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp$")
"""The temporary names of a killed DVC."""


def _repair(layout: Layout, say: Say, cached: bool) -> None:
    """Repair what a killed intake or DVC left; UserError for any other difference."""
    if not cached:  # DVC compares files with what its cache lists
        versions.fetch(layout)
    changes = versions.changes(layout)
    for name in [name for name in changes["added"] if _LEFTOVER.search(name)]:
        (layout.root / name).unlink(missing_ok=True)
        changes["added"].remove(name)
    folder = f"{layout.data.name}/{batches.FOLDER}/"
    unexpected = [name for name in changes["added"] if not _is_batch(name, folder)]
    unexpected += changes["modified"]
    if unexpected:
        more = f" and {len(unexpected) - 3} more" if len(unexpected) > 3 else ""
        raise UserError(
            f"data/ differs from data.dvc: {', '.join(unexpected[:3])}{more} changed by hand",
            "keep the change with 'dvc add data', or drop it with 'dvc checkout --force data.dvc'",
        )
    if changes["deleted"] and changes["added"]:
        raise UserError(
            f"data/ lacks {changes['deleted'][0]} and holds batches that data.dvc does not know",
            "keep this with 'dvc add data', or drop it with 'dvc checkout --force data.dvc'",
        )
    if changes["deleted"]:
        say(f"{len(changes['deleted'])} files of data/ are missing: restoring them")
        versions.bring(layout)
    elif changes["added"]:
        say(f"an intake was interrupted: {len(changes['added'])} batches are added to DVC now")
        for name in changes["added"]:
            batches.read(layout.root / name)
        versions.take(layout)


def _is_batch(name: str, folder: str) -> bool:
    return name.startswith(folder) and batches.NAME.match(name.removeprefix(folder)) is not None


def _note_path(layout: Layout) -> Path:
    return layout.state / "intake" / "synced.json"


def note(layout: Layout, seen: Listing) -> None:
    """Remember that data/ with the files `seen` is the version in data.dvc.

    `seen` is from before DVC ran; if the files have changed since, nothing is remembered.
    """
    if seen and seen == listing(layout):
        write_json(_note_path(layout), {"version": versions.digest(layout), "files": seen})


def _noted(layout: Layout) -> tuple[str, Listing] | None:
    try:
        content = json.loads(_note_path(layout).read_text(encoding="utf-8"))
        return content["version"], content["files"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def listing(layout: Layout) -> Listing:
    """Size, times and inode of every file in data/, by which git and DVC detect changes too."""
    files = {}
    for path in sorted(layout.data.rglob("*")):
        if path.is_file():
            stat = path.stat()
            facts = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
            files[path.relative_to(layout.data).as_posix()] = facts
    return files
