"""Staged rows to the files that `ingest` writes: good rows, and the quarantine with its causes.

`recctl data preview` runs the same code, so that it shows what ingest will write.
"""

from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recctl.data import batches, engine, interactions
from recctl.data.interactions import CAUSES, QUARANTINE
from recctl.data.params import IngestParams
from recctl.errors import UserError, option


def clean(
    connection: Any,
    base: ir.Table,
    taken: ir.Table | None,
    clock: interactions.Clock,
    params: IngestParams,
    folder: Path,
) -> dict[str, Any]:
    """Write interactions and quarantine to `folder`, and return what to report.

    `base` are the staged rows of the base files, `taken` the rows of the batches, which are
    classified already.
    """
    typed = interactions.classified(base, params, clock)
    if taken is not None:
        typed = batches.union(typed, taken, params)
    kept, quarantined = folder / "interactions.parquet", folder / "quarantine.parquet"
    tables = [base] if taken is None else [base, taken]
    rows_in = sum(engine.one_row(connection, rows.agg(n=rows.count()))["n"] for rows in tables)
    rows_out = engine.write_parquet(connection, interactions.interactions(typed, clock), kept)
    if rows_out < rows_in:
        left = interactions.quarantine(typed, connection.read_parquet(kept).select("row"))
        engine.write_parquet(connection, left, quarantined)
    else:
        pq.write_table(QUARANTINE.to_pyarrow().empty_table(), quarantined)
    by_cause = _by_cause(quarantined)
    assert rows_in == rows_out + sum(by_cause.values()), "every row is kept or in quarantine"
    if rows_out == 0:
        files = ", ".join(params.files)
        if rows_in == 0:
            raise UserError(f"no rows in {files}", "give a file with interactions")
        left = connection.read_parquet(quarantined)
        what, cause = no_good_row(connection, left, rows_in, files)
        raise UserError(what, f"change how it is read {' or '.join(map(option, _FIXES[cause]))}")
    return {
        "name": params.name,
        "rows_in": rows_in,
        "rows_out": rows_out,
        **_facts(connection, connection.read_parquet(kept), clock),
        "quarantined": rows_in - rows_out,
        "quarantine": by_cause,
    }


def _by_cause(path: Path) -> dict[str, int]:
    """Quarantined rows by cause, every known cause with its number."""
    counted = pc.value_counts(pq.read_table(path, columns=["cause"])["cause"]).to_pylist()
    counts = {entry["values"]: entry["counts"] for entry in counted}
    assert counts.keys() <= CAUSES.keys(), counts.keys()
    return {cause: counts.get(cause, 0) for cause in CAUSES}


def _facts(connection: Any, kept: ir.Table, clock: interactions.Clock) -> dict[str, Any]:
    """Users, items and, where there are real times, the time span."""
    facts = kept.agg(
        users=kept.user_id.nunique(),
        items=kept.item_id.nunique(),
        first=kept.timestamp.min(),
        last=kept.timestamp.max(),
    )
    values = engine.one_row(connection, facts)
    first, last = values["first"], values["last"]
    days = round((last - first).total_seconds() / 86_400, 2)
    span = {"days": days, "first_time": first.isoformat(), "last_time": last.isoformat()}
    return {"users": values["users"], "items": values["items"], **(span if clock != "row" else {})}


_FIXES = {
    "bad-line": ("format", "delimiter", "columns"),
    "bad-encoding": ("encoding",),
    "no-user": ("user_column",),
    "anonymous": ("user_column",),
    "no-item": ("item_column",),
    "bad-id": ("user_column", "item_column"),
    "no-time": ("time_column",),
    "bad-time": ("time_unit", "time_format", "time_column"),
    "bad-weight": ("decimal", "weight_column"),
    "low-weight": ("minimum_weight",),
}
"""The settings that affect a cause."""


def no_good_row(connection: Any, bad: ir.Table, rows: int, where: str) -> tuple[str, str]:
    """What is wrong with a log without a good row, and its commonest cause with an example.

    `bad` has the columns of the quarantine.
    """
    counted = bad.group_by("cause").agg(count=bad.count(), row=bad.row.min())
    worst = engine.one_row(connection, counted.order_by(ibis.desc("count"), "row").limit(1))
    cause = worst["cause"]
    texts = bad.filter(bad.row == worst["row"]).select(*_TEXTS)
    first = engine.one_row(connection, texts.limit(1))
    example = ", ".join(f"{name} {value[:60]!r}" for name, value in first.items() if value)
    return (
        f"none of the {rows:,} rows of {where} is good: {worst['count']:,} times {cause} "
        f"({CAUSES[cause]}); the first: {example or 'empty'}"
    ), cause


_TEXTS = ("user_id", "item_id", "timestamp", "weight", "line")
