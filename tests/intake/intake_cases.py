"""A project whose data/ DVC holds, files to drop, and what was made of them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from recctl.data import batches, versions
from recctl.intake import sync
from recctl.intake.intake import Intake, take_in
from recctl.layout import Layout
from recctl.stages import ingest

BASE = [("u1", "i1", 1), ("u2", "i2", 2), ("u1", "i3", 3)]
FOLDER = {"kind": "folder", "path": "incoming"}
SHOP = {"kind": "sql", "name": "shop", "url": "sqlite:///shop.db", "watermark": "id"}

Event = tuple[Any, Any, Any]


def text(rows: Iterable[Event], header: bool = True) -> str:
    lines = ["user_id,item_id,timestamp"] if header else []
    return "\n".join([*lines, *(",".join(map(str, row)) for row in rows)]) + "\n"


def dvc(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def template(root: Path) -> Path:
    """A project with three interactions, held by DVC."""
    plain(root)
    dvc(root, "init", "--no-scm", "--quiet")
    (root / "dvc.yaml").write_text("stages: {}\n")
    dvc(root, "add", "--quiet", "data")
    return root


def copied(template: Path, root: Path) -> Layout:
    """A project of one's own; DVC's cache comes with it."""
    shutil.copytree(template, root)
    return Layout(root)


def without_dvc(patch: pytest.MonkeyPatch) -> None:
    """Leave DVC out of tests that do not need it: every call takes most of a second."""
    patch.setattr(versions, "take", lambda layout: None)
    patch.setattr(versions, "digest", lambda layout: str(len(batches.paths(layout.data))))
    patch.setattr(sync, "bring", lambda layout, say: None)


def plain(root: Path) -> Layout:
    """A project with three interactions that DVC does not hold; for use with `without_dvc`."""
    (root / "data").mkdir(parents=True)
    (root / "data" / "log.csv").write_text(text(BASE))
    set_params(root, [FOLDER])
    return Layout(root)


def set_params(root: Path, sources: list[dict[str, Any]], **ingest: Any) -> None:
    section = {"name": "tiny", "files": ["log.csv"], "format": "csv"} | ingest
    with (root / "params.yaml").open("w") as file:
        YAML().dump({"ingest": section, "intake": {"sources": sources}}, file)


def drop(layout: Layout, name: str, content: str | bytes, age: float = 60) -> Path:
    """A file in incoming/, last written `age` seconds ago."""
    path = layout.root / "incoming" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    when = path.stat().st_mtime - age
    os.utime(path, (when, when))
    return path


def take(layout: Layout) -> Intake:
    return take_in(layout, quiet)


def quiet(text: str) -> None:
    pass


def stored(layout: Layout) -> list[Event]:
    """The good rows of all batches, in order: user, item, microseconds."""
    rows: list[Event] = []
    for path in batches.paths(layout.data):
        table = pq.read_table(path).to_pylist()
        rows += [(r["user_id"], r["item_id"], r["us"]) for r in table if r["cause"] is None]
    return rows


def ingested(layout: Layout) -> tuple[list[Event], list[tuple[str, Any]]]:
    """What ingest makes of all: the interactions in seconds, and cause and user of the rest."""
    ingest.run(layout)
    kept = pq.read_table(layout.interactions / "interactions.parquet").to_pylist()
    aside = pq.read_table(layout.interactions / "quarantine.parquet").to_pylist()
    good = sorted((r["user_id"], r["item_id"], r["timestamp"].timestamp()) for r in kept)
    return good, sorted((r["cause"], r["user_id"] or "") for r in aside)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
