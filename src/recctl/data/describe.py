"""The present content of `data/`, counted from the raw files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.data import batches, engine, formats, interactions, repeats, versions
from recctl.data.params import IngestParams
from recctl.data.repeats import Repeats
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
    """Good rows whose user had the same item in another row before."""
    repeat_share: float
    """Of the interactions at distinct times, those with an item that the user had before."""
    hidden_target_share: float
    """Of the users, those whose last item the seen filter hides because they had it before."""
    first: str | None
    """Time of the first interaction, ISO 8601; None where only the order is known."""
    last: str | None
    first_rows: list[dict[str, str | None]]


def describe(layout: Layout) -> Description:
    """Count the log in `data/`, read as params.yaml says.

    Raises UserError when a file is missing, unreadable or lacks a column.
    """
    params = IngestParams.load(layout.params)
    with engine.scratch(layout.state) as scratch, engine.duckdb(scratch) as connection:
        staged = formats.stage(connection, params, layout.data, scratch)
        rows_of_all = _all_rows(connection, staged, params, layout.data)
        counts, again = _counts(rows_of_all), _repeats(rows_of_all)
        rows = staged.table.order_by("row").limit(FIRST_ROWS).to_pyarrow().to_pylist()
    timed = params.format != "sequences"
    return Description(
        name=params.name,
        format=params.format,
        version=versions.digest(layout),
        files=_files(layout.data),
        rows=counts["rows"],
        bad_rows=counts["rows"] - counts["good"],
        users=counts["users"],
        items=counts["items"],
        repeats=counts["good"] - counts["pairs"],
        repeat_share=again.share,
        hidden_target_share=again.hidden_share,
        first=batches.iso(counts["first"], "seconds") if timed else None,
        last=batches.iso(counts["last"], "seconds") if timed else None,
        first_rows=[_texts(row, timed) for row in rows],
    )


def repeats_of(params: IngestParams, data: Path, state: Path) -> Repeats:
    """The repeats in the files of a log; UserError when it cannot be read."""
    with engine.scratch(state) as scratch, engine.duckdb(scratch) as connection:
        staged = formats.stage(connection, params, data, scratch)
        return _repeats(_all_rows(connection, staged, params, data))


def _repeats(typed: Any) -> Repeats:
    return repeats.count(typed.filter(typed.cause.isnull()), "us")


def _all_rows(connection: Any, staged: formats.Staged, params: IngestParams, data: Path) -> Any:
    """The classified rows of the base files and of the batches."""
    typed = interactions.classified(staged.table, params, staged.clock)
    held = batches.paths(data)
    if not held:
        return typed
    return batches.union(typed, batches.stage(connection, held, 0), params)


def _files(data: Path) -> dict[str, int]:
    files = {file.name: file.stat().st_size for file in sorted(data.iterdir()) if file.is_file()}
    held = batches.paths(data)
    if held:
        total = sum(path.stat().st_size for path in held)
        files[f"{batches.FOLDER}/, {len(held)} batches"] = total
    return files


def _counts(typed: Any) -> dict[str, Any]:
    good = typed.cause.isnull()
    kept = typed.filter(good)
    counts = typed.aggregate(
        rows=typed.count(),
        good=good.sum().fill_null(0),
        users=typed.user_id.nunique(where=good),
        items=typed.item_id.nunique(where=good),
        first=typed.us.min(where=good),
        last=typed.us.max(where=good),
    )
    pairs = kept.select("user_id", "item_id").distinct()
    return {**engine.row(counts), "pairs": engine.count(pairs)}


def _texts(row: dict[str, Any], timed: bool) -> dict[str, str | None]:
    columns = ["user_id", "item_id", *(["timestamp"] if timed else []), "weight"]
    return {key: row[key] for key in columns if isinstance(row[key], str)}
