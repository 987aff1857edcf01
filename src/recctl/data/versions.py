"""What DVC knows of `data/`: asked and told through its command line."""

import json
import os
import subprocess
import sys
from typing import Any

from recctl.config import read_yaml
from recctl.errors import UserError
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
    """Run dvc in the project; UserError with its own words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=layout.root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()).removeprefix("ERROR: ")
        raise UserError(
            f"'dvc {' '.join(arguments)}' failed: {reason or 'it gives no reason'}",
            "mend that and run the command again",
        )
    return done.stdout
