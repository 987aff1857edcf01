"""A project around a few rows, and what ingest made of them."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from ruamel.yaml import YAML

from recctl.layout import Layout
from recctl.stages import ingest


def project(folder: Path, files: dict[str, str | bytes], /, **settings: Any) -> Layout:
    """A project with files below data/ and an `ingest` section; csv by default."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / "data" / name).write_bytes(raw)
    (folder / "dvc.yaml").touch()
    section = {"name": "case", "files": list(files), "format": "csv"} | settings
    YAML().dump({"ingest": section}, folder / "params.yaml")
    return Layout(folder)


def run(folder: Path, files: dict[str, str | bytes], /, **settings: Any) -> Layout:
    """The project after ingest."""
    layout = project(folder, files, **settings)
    ingest.run(layout)
    return layout


def kept(layout: Layout) -> list[tuple[Any, ...]]:
    """The interactions: user, item, microseconds since 1970, weight, row."""
    table = pq.read_table(layout.interactions / "interactions.parquet")
    times = table["timestamp"].cast("int64").to_pylist()
    columns = [table[name].to_pylist() for name in ("user_id", "item_id", "weight", "row")]
    return [(u, i, t, w, r) for u, i, w, r, t in zip(*columns, times, strict=True)]


def set_aside(layout: Layout) -> list[tuple[int, str]]:
    """The quarantine: row and cause."""
    table = pq.read_table(layout.interactions / "quarantine.parquet")
    return list(zip(table["row"].to_pylist(), table["cause"].to_pylist(), strict=True))
