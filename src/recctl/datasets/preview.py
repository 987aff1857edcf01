"""What ingest will make of a log: counts, the first rows, what goes to quarantine."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recctl.data import clean, columns, engine, formats, repeats, shape
from recctl.data.formats import Staged
from recctl.data.interactions import CAUSES, ON_PURPOSE
from recctl.data.params import IngestParams
from recctl.data.repeats import Repeats
from recctl.data.shape import LogShape

EXAMPLES = 5
"""Rows that a preview shows."""
_MANY = 0.05
"""The share of bad rows that `validate` allows unless it is set."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """How a log is read, and what ingest will make of it."""

    ingest: IngestParams
    rows: int
    interactions: int
    times: str
    """What the times are: a format, a unit, a type, or the order of the lines."""
    users: int
    items: int
    first_time: str | None
    last_time: str | None
    """None where the order of lines is the time."""
    weights: dict[str, float] | None
    """`minimum`, `maximum` and `negative` (rows) of the weights; None without any."""
    quarantine: dict[str, int]
    """Rows set aside, by cause."""
    examples: list[dict[str, Any]]
    """The first interactions."""
    set_aside: list[dict[str, Any]]
    """The first row of each cause, with its own text."""
    repeats: Repeats
    """How often users come back to an item."""
    shape: LogShape
    """From which the training settings are chosen."""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "ingest": self.ingest.model_dump()}


def of_files(folder: Path, params: IngestParams, state: Path) -> Preview:
    """The preview of files in `folder` that are read as `params` say."""
    with engine.scratch(state) as scratch, engine.duckdb(scratch) as connection:
        staged = formats.stage(connection, params, folder, scratch)
        return of_rows(connection, staged, params, scratch, [])


def of_rows(
    connection: Any, staged: Staged, params: IngestParams, scratch: Path, notes: list[str]
) -> Preview:
    """The preview of staged rows; `notes` come first among its notes."""
    report = clean.clean(connection, staged.table, None, staged.clock, params, scratch)
    kept = connection.read_parquet(scratch / "interactions.parquet")
    weights = None
    if params.weight_column is not None:
        low, high, negative = kept.weight.min(), kept.weight.max(), (kept.weight < 0).sum()
        weights = engine.row(kept.agg(minimum=low, maximum=high, negative=negative))
    causes = {cause: count for cause, count in report["quarantine"].items() if count}
    examples = kept.order_by("row").limit(EXAMPLES).to_pyarrow().to_pylist()
    return Preview(
        ingest=params,
        rows=report["rows_in"],
        interactions=report["rows_out"],
        times=_times(staged, params),
        users=report["users"],
        items=report["items"],
        first_time=report.get("first_time"),
        last_time=report.get("last_time"),
        weights=weights,
        quarantine=causes,
        examples=[_example(row, staged.clock) for row in examples],
        set_aside=_first_of_each(connection, scratch / "quarantine.parquet", causes),
        repeats=repeats.count(kept, "timestamp"),
        shape=shape.measure(kept),
        notes=[*notes, *_notes(report, causes)],
    )


def _times(staged: Staged, params: IngestParams) -> str:
    if staged.clock == "row":
        return "the order of the lines"
    if staged.typed:
        return "the column's type"
    return f"'{params.time_format}'" if params.time_format else f"unit {params.time_unit}"


def _example(row: dict[str, Any], clock: str) -> dict[str, Any]:
    return {**row, "timestamp": None if clock == "row" else row["timestamp"].isoformat()}


def _first_of_each(connection: Any, path: Path, causes: dict[str, int]) -> list[dict[str, Any]]:
    """The first quarantined row of each cause, without its empty columns."""
    if not causes:
        return []
    rows = connection.read_parquet(path)
    first = rows.group_by("cause").agg(row=rows.row.min())
    examples = rows.inner_join(first, ["cause", "row"]).order_by("row").to_pyarrow().to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in examples]


def _notes(report: dict[str, Any], causes: dict[str, int]) -> list[str]:
    """What may not be as intended."""
    notes = []
    bad = {cause: count for cause, count in causes.items() if cause not in ON_PURPOSE}
    share = sum(bad.values()) / report["rows_in"]
    if share > _MANY:
        worst = max(bad, key=bad.__getitem__)
        notes.append(
            f"{share:.1%} of the rows go to quarantine, most of them {worst}: {CAUSES[worst]}; "
            "'validate' stops above its maximum_quarantine_share"
        )
    first, last = (str(report.get(key, "2")) for key in ("first_time", "last_time"))
    if first < "1971":
        which = "all times are" if last < "1971" else f"some times, such as {first}, are"
        notes.append(
            f"{which} of 1970 or before: if that is wrong, say how they are written with "
            "--time-unit or --time-format"
        )
    return notes


def as_lines(preview: Preview) -> list[str]:
    """The preview as lines of text, without its examples."""
    params = preview.ingest
    span = f", from {preview.first_time} to {preview.last_time}" if preview.first_time else ""
    named = ", ".join(
        f"{field.removesuffix('_id').replace('timestamp', 'time')} is '{name}'"
        for field, name in columns.sources(params).items()
    )
    rows = [
        f"files: {', '.join(params.files)}, read as {_reading(params)}",
        f"columns: {named}",
        f"times: {preview.times}{span}",
    ]
    if preview.weights is not None:
        low, high = preview.weights["minimum"], preview.weights["maximum"]
        rows.append(f"weights: {low:g} to {high:g}")
    rows.append(
        f"rows: {preview.rows:,}, of which {preview.interactions:,} interactions of "
        f"{preview.users:,} users with {preview.items:,} items"
    )
    for first in preview.set_aside:
        cause = first["cause"]
        count = preview.quarantine[cause]
        shown = ", ".join(
            f"{key} {value if key == 'row' else repr(value[:60])}"
            for key, value in first.items()
            if key != "cause"
        )
        rows.append(
            f"quarantine: {count:,} rows ({count / preview.rows:.1%}) {cause}: {CAUSES[cause]}; "
            f"the first: {shown}"
        )
    return rows + [f"note: {note}" for note in preview.notes]


def _reading(params: IngestParams) -> str:
    if params.format == "parquet":
        return "parquet"
    parts: list[str] = [params.format]
    if params.format in ("csv", "tsv"):
        sign = columns.separator(params).replace("\t", "\\t")
        parts += [f"separator '{sign}'", f"decimal sign '{params.decimal or '.'}'"]
        parts += [f"columns {', '.join(params.columns)}"] if params.columns else []
    return ", ".join([*parts, f"encoding {params.encoding or 'utf-8 or by its mark'}"])
