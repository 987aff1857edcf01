"""Versions of `data/`: what data.dvc names, and how `data/` is brought in line with it."""

import hashlib
import json
from pathlib import Path

from recctl import dvc
from recctl.config import yaml_value
from recctl.errors import MayPass, UserError
from recctl.files import replacing
from recctl.layout import Layout


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
    status = dvc.json_output(layout, "status", "--json", "data.dvc")
    if not status:
        return
    if "not in cache" not in json.dumps(status):
        raise _not_held("data/ was changed since DVC took it", "dvc add data")
    take(layout)  # the files are those of data.dvc, only the cache was cleared


def _not_held(what: str, command: str) -> UserError:
    return UserError(
        f"{what}, so replacing it would lose it",
        f"keep it with '{command}', or drop it by moving data/ away",
    )


def add(layout: Layout) -> None:
    """Version `data/` as it is now: its files go to DVC's cache, its digest to data.dvc."""
    try:
        take(layout)
    except UserError as error:
        raise UserError(
            f"data/ and params.yaml are in place, but {error}", "then run 'dvc add data'"
        ) from None


def take(layout: Layout) -> None:
    """Version `data/` as it is now, as `add` does, for a caller that has changed nothing else."""
    dvc.output(layout, "add", "--quiet", "data")


def unchanged(layout: Layout) -> bool:
    """Whether `data/` is exactly what data.dvc describes, and in the cache."""
    _require_project(layout)
    return not dvc.json_output(layout, "status", "--json", "data.dvc")


def changes(layout: Layout) -> dict[str, list[str]]:
    """The files that were `added` to, `deleted` from or `modified` in what data.dvc describes."""
    status = dvc.json_output(layout, "data", "status", "--granular", "--json")
    changed = status.get("uncommitted", {})
    return {
        kind: [
            name
            for name in changed.get(kind, [])
            if name.startswith("data/") and not name.endswith("/")  # no folder
        ]
        for kind in ("added", "deleted", "modified")
    }


def bring(layout: Layout) -> None:
    """Replace `data/` by what data.dvc describes: from the cache, or else from the remote.

    What `data/` holds stays until all of that version is in the cache; the caller has made sure
    that DVC holds it too. Raises MayPass when the remote does not give the version, UserError
    without a remote.
    """
    _require_project(layout)
    if not cached(layout, digest(layout)):
        fetch(layout)
    dvc.output(layout, "checkout", "--force", "data.dvc")  # quiet, it gives no reason


def fetch(layout: Layout) -> None:
    """Bring the version of data.dvc into the cache; raises as `bring` does, touches no data."""
    if not dvc.config(layout)["core"].get("remote"):
        raise UserError(
            f"{_lacks(layout)}, and there is no remote to bring it from",
            "keep what data/ holds now with 'dvc add data', run 'recctl data use', or name a "
            "remote with 'dvc remote add -d NAME URL'",
        )
    try:
        dvc.output(layout, "fetch", "data.dvc")  # quiet, it gives no reason
    except UserError as error:
        if dvc.disk_is_full(error.what):
            raise
        if not dvc.lacks_files(error.what):
            raise MayPass(str(error)) from None
    if not cached(layout, digest(layout)):
        raise MayPass(
            f"{_lacks(layout)}, and DVC's remote gave no data/: it is unreachable, or "
            "'dvc push' was never run",
            "try 'dvc fetch data.dvc'",
        )


def _lacks(layout: Layout) -> str:
    return f"DVC's cache lacks version {str(digest(layout))[:8]} of data/, which data.dvc names"


def hold(layout: Layout) -> str:
    """Add what `data/` holds to the cache and leave data.dvc as it is; the digest of `data/`."""
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
    folder = hashlib.md5(text.encode(), usedforsecurity=False)
    return f"{folder.hexdigest()}.dir" == digest(layout)


def files(layout: Layout, version: str) -> dict[str, str] | None:
    """The digest of each file of a version, by its name; None where the cache lacks the list."""
    return dvc.listed(dvc.cache(layout), version)


def cached(layout: Layout, version: str | None) -> bool:
    """Whether the cache holds all of a version of `data/`."""
    return version is not None and dvc.is_whole(dvc.cache(layout), version)


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
