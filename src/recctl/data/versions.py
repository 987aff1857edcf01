"""What DVC knows of `data/`: asked and told through its command line."""

import json
import os
import re
import subprocess
import sys
import time
from typing import Any

from recctl import supervise
from recctl.config import read_yaml
from recctl.errors import MayPass, UserError
from recctl.layout import Layout
from recctl.redact import redact


def require_held(layout: Layout) -> None:
    """UserError unless DVC could bring back what `data/` holds now.

    Nothing there counts as held. Otherwise data.dvc must describe it exactly; files that the cache
    lacks are added to it.
    """
    _require_project(layout)
    if not layout.data.exists() or not any(layout.data.iterdir()):
        return
    if not _pointer(layout).is_file():
        raise _not_held("DVC does not hold data/ yet", "dvc add data")
    status = _dvc_json(layout, "status", "--json", "data.dvc")
    if not status:
        return
    if "not in cache" not in json.dumps(status):
        raise _not_held("data/ was changed since DVC took it", "dvc add data")
    # The files are those of data.dvc, only the cache was cleared: what is here refills it.
    _dvc(layout, "add", "--quiet", "data")


def _not_held(what: str, command: str) -> UserError:
    return UserError(
        f"{what}, so replacing it would lose it",
        f"keep it with '{command}', or drop it by moving data/ away",
    )


def add(layout: Layout) -> None:
    """Version `data/` as it is now: its files go to DVC's cache, its digest to data.dvc."""
    try:
        _dvc(layout, "add", "--quiet", "data")
    except UserError as error:
        raise UserError(
            f"data/ and params.yaml are in place, but {error}", "then run 'dvc add data'"
        ) from None


def take(layout: Layout) -> None:
    """Version `data/` as it is now, as `add` does, for a caller that has changed nothing else."""
    _dvc(layout, "add", "--quiet", "data")


def unchanged(layout: Layout) -> bool:
    """Whether `data/` is just what data.dvc describes, and in the cache."""
    _require_project(layout)
    return not _dvc_json(layout, "status", "--json", "data.dvc")


def changes(layout: Layout) -> dict[str, list[str]]:
    """The files that were `added` to, `deleted` from or `modified` in what data.dvc describes."""
    status = _dvc_json(layout, "data", "status", "--granular", "--json")
    found = status.get("uncommitted", {})
    kinds = ("added", "deleted", "modified")
    return {kind: [name for name in found.get(kind, []) if _is_data(name)] for kind in kinds}


def _is_data(name: str) -> bool:
    """Whether DVC names a file of data/; folders end with a stroke."""
    return name.startswith("data/") and not name.endswith("/")


def bring(layout: Layout) -> None:
    """Let `data/` be what data.dvc describes: from the cache, or else from the remote.

    Raises MayPass when the remote does not give it, UserError when there is no remote.
    """
    _require_project(layout)
    try:
        _dvc(layout, "checkout", "--force", "data.dvc")
        return
    except UserError as error:
        from_cache = error
    try:
        _dvc(layout, "pull", "--force", "data.dvc")  # quiet, it gives no reason
    except UserError as error:
        if not _dvc(layout, "remote", "list").strip():
            if _LACKS not in from_cache.what:  # it could not be read
                raise from_cache from None
            raise UserError(
                "DVC's cache lacks this version of data/, and there is no remote to bring it from",
                "run 'recctl data use', or name a remote with 'dvc remote add -d NAME URL'",
            ) from None
        if "neither locally nor on remote" in error.what:
            raise MayPass(
                "DVC's remote gave no data/: it is away, or nobody ran 'dvc push'",
                "look at it with 'dvc pull'",
            ) from None
        raise MayPass(str(error)) from None


_LACKS = "Is your cache up to date?"
"""What DVC says of a cache that does not hold a version."""


def cache(layout: Layout) -> str:
    """The folder of DVC's cache, wherever its configuration says it is."""
    return _dvc(layout, "cache", "dir").strip()


def digest(layout: Layout) -> str | None:
    """The digest that data.dvc holds; None without one. UserError when it is not DVC's."""
    if not _pointer(layout).is_file():
        return None
    pointer = read_yaml(_pointer(layout))
    try:
        out = pointer["outs"][0]
        return str(out["md5"]) if "md5" in out else None
    except (KeyError, IndexError, TypeError):
        raise UserError(
            f"{_pointer(layout)} names no version of data/", "restore it from git"
        ) from None


def _pointer(layout: Layout) -> Any:
    return layout.root / "data.dvc"


def _require_project(layout: Layout) -> None:
    if not (layout.root / ".dvc").is_dir():
        raise UserError(f"{layout.root} is not a DVC project", "run 'dvc init' there")


def _dvc_json(layout: Layout, *arguments: str) -> Any:
    text = _dvc(layout, *arguments)
    return json.loads(text) if text.strip() else {}


def _dvc(layout: Layout, *arguments: str) -> str:
    """Run dvc in the project; UserError with its own words when it fails.

    A DVC that is at work already, perhaps that of a killed process, is waited for some seconds;
    MayPass when it does not end.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        done = _run(layout, *arguments)
        busy = done.returncode != 0 and _BUSY.search(done.stderr)
        if not busy:
            break
        if time.monotonic() > deadline:
            raise MayPass("another DVC is at work in this project", "wait until it has ended")
        time.sleep(0.2)
    if done.returncode != 0:
        said = done.stderr.partition("Having any troubles?")[0]
        reason = redact(" ".join(said.split()).removeprefix("ERROR: "))
        full = re.search(r"(?i)disk is full|no space left", reason)
        raise UserError(
            f"'dvc {' '.join(arguments)}' failed: {reason or 'it gives no reason'}",
            f"{'free some disk space' if full else 'fix that'} and run the command again",
        )
    return done.stdout


_PATIENCE = 15.0
"""Seconds."""
_BUSY = re.compile(r"is busy, it is being blocked by|Unable to acquire lock")


def environment(layout: Layout) -> dict[str, str]:
    """Ours, with a place for DVC's site cache that no other user can write to.

    DVC unpickles what it finds there, and its own place, /var/tmp/dvc, is open to all. A clone of
    this repository has the place that .dvc/config names, for a `dvc` that a person calls.
    """
    place = layout.root / ".dvc-site"
    if not place.is_dir():
        place = layout.state / "dvc-site"
    for folder in (layout.state, place, place / "repo"):  # DVC would let everybody write there
        folder.mkdir(mode=0o700, exist_ok=True)
    return {"DVC_SITE_CACHE_DIR": str(place), **os.environ}


def _run(layout: Layout, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dvc to its end, under a supervisor: a late checkout of a dead intake would undo ours."""
    told, ours = os.pipe()  # its end tells the supervisor that we are gone
    try:
        return subprocess.run(
            supervise.command([sys.executable, "-m", "dvc", *arguments]),
            cwd=layout.root,
            env={**environment(layout), "DVC_NO_ANALYTICS": "1"},
            stdin=told,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    finally:
        os.close(told)
        os.close(ours)
