"""What DVC knows of `data/`: asked and told through its command line."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from recctl import supervise
from recctl.config import yaml_value
from recctl.errors import MayPass, UserError
from recctl.files import replacing
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

    What `data/` holds stays until all of that version is in the cache; who calls this knows that
    it is held too. Raises MayPass when the remote does not give it, UserError without a remote.
    """
    _require_project(layout)
    if not cached(layout, digest(layout)):
        fetch(layout)
    _dvc(layout, "checkout", "--force", "data.dvc")  # quiet, it gives no reason


def fetch(layout: Layout) -> None:
    """Bring the version of data.dvc into the cache; raises as `bring` does, touches no data."""
    if not config(layout)["core"].get("remote"):
        raise UserError(
            f"{_lacks(layout)}, and there is no remote to bring it from",
            "keep what data/ holds now with 'dvc add data', run 'recctl data use', or name a "
            "remote with 'dvc remote add -d NAME URL'",
        )
    try:
        _dvc(layout, "fetch", "data.dvc")  # quiet, it gives no reason
    except UserError as error:
        if _FULL.search(error.what):
            raise
        if "neither locally nor on remote" not in error.what:
            raise MayPass(str(error)) from None
    if not cached(layout, digest(layout)):
        raise MayPass(
            f"{_lacks(layout)}, and DVC's remote gave no data/: it is away, or nobody ran "
            "'dvc push'",
            "look at it with 'dvc fetch data.dvc'",
        )


def _lacks(layout: Layout) -> str:
    return f"DVC's cache lacks version {str(digest(layout))[:8]} of data/, which data.dvc names"


def hold(layout: Layout) -> str:
    """Put what `data/` holds into the cache, and leave data.dvc as it is; the digest of it."""
    text = _pointer(layout).read_text(encoding="utf-8")
    take(layout)
    held = digest(layout)
    with replacing(_pointer(layout)) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return str(held)


def matches(layout: Layout) -> bool:
    """Whether `data/` is what data.dvc describes; reads all of it, and needs no cache.

    DVC's digest of a folder is that of a list of its files.
    """
    paths = [path for path in layout.data.rglob("*") if path.is_file()]
    listed = []
    for name, path in sorted((path.relative_to(layout.data).as_posix(), path) for path in paths):
        with path.open("rb") as file:
            listed.append({"md5": hashlib.file_digest(file, "md5").hexdigest(), "relpath": name})
    text = json.dumps(listed, sort_keys=True)
    found = hashlib.md5(text.encode(), usedforsecurity=False)
    return f"{found.hexdigest()}.dir" == digest(layout)


def files(layout: Layout, version: str) -> dict[str, str] | None:
    """The digest of each file of a version, by its name; None where the cache lacks the list."""
    return listed(cache(layout), version)


def listed(cache: Path, md5: str) -> dict[str, str] | None:
    """The same for any folder that DVC keeps."""
    try:
        entries = json.loads(stored(cache, md5).read_text(encoding="utf-8"))
        return {str(one["relpath"]): str(one["md5"]) for one in entries}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def cached(layout: Layout, version: str | None) -> bool:
    """Whether the cache holds all of a version of `data/`."""
    return version is not None and whole(cache(layout), version)


def whole(cache: Path, md5: str) -> bool:
    """Whether the cache holds a file, or a folder with all its files."""
    if not md5.endswith(".dir"):
        return stored(cache, md5).is_file()
    found = listed(cache, md5)
    return found is not None and all(stored(cache, one).is_file() for one in found.values())


def stored(cache: Path, md5: str) -> Path:
    """Where the cache keeps what has this digest."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def cache(layout: Layout) -> Path:
    """The folder of DVC's cache, as its configuration says."""
    return Path(config(layout)["cache"].get("dir") or layout.root / ".dvc" / "cache")


def config(layout: Layout) -> Any:
    """DVC's configuration; UserError when it cannot be read."""
    from dvc.config import Config, ConfigError

    try:
        return Config(str(layout.root / ".dvc"))
    except ConfigError as error:
        raise UserError(
            f"DVC's configuration cannot be read ({' '.join(str(error).split())})",
            "fix .dvc/config",
        ) from None


def digest(layout: Layout) -> str | None:
    """The digest that data.dvc holds; None without one. UserError when it is not DVC's."""
    path = _pointer(layout)
    return named(path.read_bytes(), str(path)) if path.is_file() else None


def named(pointer: str | bytes, where: str) -> str | None:
    """The digest that the text of a data.dvc holds; raises as `digest` does."""
    try:
        out = yaml_value(pointer, where)["outs"][0]
        return str(out["md5"]) if "md5" in out else None
    except (KeyError, IndexError, TypeError):
        raise UserError(f"{where} names no version of data/", "restore it from git") from None


def _pointer(layout: Layout) -> Path:
    return layout.root / "data.dvc"


def _require_project(layout: Layout) -> None:
    if not (layout.root / ".dvc").is_dir():
        raise UserError(f"{layout.root} is not a DVC project", "run 'dvc init' there")


def _dvc_json(layout: Layout, *arguments: str) -> Any:
    text = _dvc(layout, *arguments)
    return json.loads(text) if text.strip() else {}


_FULL = re.compile(r"(?i)disk is full|no space left")


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
        full = _FULL.search(reason)
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
    ignored = place / ".gitignore"
    if not ignored.exists():  # a project's own .gitignore may be older than this folder
        ignored.write_text("*\n", encoding="utf-8")
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
