"""The present content of `data/`, counted from the raw files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.data import batches, engine, formats, repeats, versions
from recctl.data.clean import clean
from recctl.data.forecast import Needs, needs
from recctl.data.params import IngestParams
from recctl.layout import Layout

FIRST_ROWS = 5


@dataclass(frozen=True)
class Description:
    """A raw log in numbers."""

    name: str
    format: str
    version: str | None
    """The digest in data.dvc."""
    files: dict[str, int]
    """Bytes of each file in data/; the batches of intakes count as one."""
    rows: int
    bad_rows: int
    """Rows that ingest will put into quarantine, without exact duplicates."""
    users: int
    items: int
    repeats: int
    """Interactions whose user had the same item at an earlier time."""
    repeat_share: float
    """Of the interactions at distinct times, those with an item that the user had before."""
    hidden_target_share: float
    """Of the users, those whose last item the seen filter hides because they had it before."""
    advice: str | None
    """The setting that a log with so many repeats needs."""
    first: str | None
    """Time of the first interaction, ISO 8601; None where only the order is known."""
    last: str | None
    first_rows: list[dict[str, str | None]]
    needs: Needs
    """Of ingest, validate and sequence-split."""


def describe(layout: Layout) -> Description:
    """Count the log in `data/`, read as params.yaml says.

    Raises UserError when a file is missing, unreadable or lacks a column, or when no row is good.
    """
    params = IngestParams.load(layout.params)
    with engine.scratch(layout.state) as scratch, engine.duckdb(scratch) as connection:
        staged = formats.stage(connection, params, layout.data, scratch)
        held = batches.paths(layout.data)
        taken = batches.stage(connection, held, engine.count(staged.table)) if held else None
        report = clean(connection, staged.table, taken, staged.clock, params, scratch)
        kept = connection.read_parquet(scratch / "interactions.parquet")
        again = repeats.count(kept, "timestamp")
        rows = staged.table.order_by("row").limit(FIRST_ROWS).to_pyarrow().to_pylist()
    return Description(
        name=params.name,
        format=params.format,
        version=versions.digest(layout),
        files=_files(layout.data),
        rows=report["rows_in"],
        bad_rows=report["quarantined"] - report["quarantine"]["duplicate"],
        users=report["users"],
        items=report["items"],
        repeats=again.repeated,
        repeat_share=again.share,
        hidden_target_share=again.hidden_share,
        advice=again.advice,
        first=report.get("first_time"),
        last=report.get("last_time"),
        first_rows=[_texts(row, timed="first_time" in report) for row in rows],
        needs=needs(report["rows_in"]),
    )


def _files(data: Path) -> dict[str, int]:
    files = {file.name: file.stat().st_size for file in sorted(data.iterdir()) if file.is_file()}
    held = batches.paths(data)
    if held:
        total = sum(path.stat().st_size for path in held)
        files[f"{batches.FOLDER}/, {len(held)} batches"] = total
    return files


def _texts(row: dict[str, Any], timed: bool) -> dict[str, str | None]:
    columns = ["user_id", "item_id", *(["timestamp"] if timed else []), "weight"]
    return {key: row[key] for key in columns if isinstance(row[key], str)}
