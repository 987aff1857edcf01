"""The stage `ingest`: raw files to typed interactions; bad rows go to quarantine."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recctl.data import batches, engine, formats, interactions
from recctl.data.formats import Staged
from recctl.data.interactions import CAUSES, QUARANTINE
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.files import replacing_folder, write_json
from recctl.layout import Layout
from recctl.stages import tables


def run(layout: Layout) -> None:
    """Read data/ as params.yaml says and write artifacts/interactions/.

    Raises UserError when the files cannot be read or when no row of them is any good.
    """
    params = IngestParams.load(layout.params)
    with (
        engine.scratch(layout.state) as scratch,
        replacing_folder(layout.interactions) as folder,
    ):
        titles, bad_titles = _titles(params, layout.data)
        pq.write_table(titles, folder / "items.parquet")
        with engine.duckdb(scratch) as reader:
            staged = formats.stage(reader, params, layout.data, scratch)
            taken = _batches(reader, staged, params, layout.data)
            tables = [staged.table, *taken.tables]
            with _expressions(params, reader, tables, scratch) as (connection, [base, *more]):
                rows = _Rows(base, more, taken.rows)
                report = _clean(connection, rows, staged.clock, params, folder)
        report |= {"batches": taken.count, "unreadable_titles": bad_titles}
        write_json(folder / "report.json", report)
    _show(report)


def _titles(params: IngestParams, data: Path) -> tuple[pa.Table, int]:
    if params.items_file is None:
        return formats.titles_table({}), 0
    return formats.titles(data / params.items_file)


@dataclass(frozen=True)
class _Batches:
    """The batches in DuckDB, as one table or none, and how many they and their rows are."""

    tables: list[ir.Table]
    count: int
    rows: int


def _batches(reader: Any, staged: Staged, params: IngestParams, data: Path) -> _Batches:
    held = batches.held(data)
    if not held:
        return _Batches([], 0, 0)
    if params.format == "sequences":
        raise UserError(
            f"data/intake holds {len(held)} batches, but a log of format 'sequences' has no times",
            "move data/intake away, or use a log with times",
        )
    first = engine.one_row(reader, staged.table.agg(rows=staged.table.count()))["rows"]
    table = batches.stage(reader, batches.paths(data), first)
    return _Batches([table], len(held), sum(batch.stored for batch in held))


@contextlib.contextmanager
def _expressions(
    params: IngestParams, reader: Any, tables: list[ir.Table], scratch: Path
) -> Iterator[tuple[Any, list[ir.Table]]]:
    """Where the expressions run, and the staged tables there."""
    if params.engine == "duckdb":
        yield reader, tables
        return
    files = [scratch / f"rows-{n}.parquet" for n in range(len(tables))]
    for table, file in zip(tables, files, strict=True):
        engine.write_parquet(reader, table, file)
    with engine.spark(scratch) as connection:
        yield connection, [connection.read_parquet(file) for file in files]


@dataclass(frozen=True)
class _Rows:
    """The rows of the base files as staged, and those of the batches."""

    base: ir.Table
    more: list[ir.Table]
    """Of at most one table, whose rows are classified already."""
    count_more: int


def _clean(
    connection: Any,
    rows: _Rows,
    clock: interactions.Clock,
    params: IngestParams,
    folder: Path,
) -> dict[str, Any]:
    """Write interactions and quarantine; what there is to report."""
    typed = interactions.classified(rows.base, params, clock)
    for table in rows.more:
        taken = interactions.weighed(table, params)
        columns = batches.COLUMNS
        typed = ibis.union(typed.select(*columns), taken.select(*columns))
    kept, set_aside = folder / "interactions.parquet", folder / "quarantine.parquet"
    in_base = engine.one_row(connection, rows.base.agg(count=rows.base.count()))["count"]
    rows_in = in_base + rows.count_more
    rows_out = engine.write_parquet(connection, interactions.interactions(typed, clock), kept)
    if rows_out < rows_in:
        left = interactions.quarantine(typed, connection.read_parquet(kept).select("row"))
        engine.write_parquet(connection, left, set_aside)
    else:
        pq.write_table(QUARANTINE.to_pyarrow().empty_table(), set_aside)
    by_cause = _by_cause(set_aside)
    assert rows_in == rows_out + sum(by_cause.values()), "every row is kept or set aside"
    if rows_out == 0:
        raise _nothing_left(params, rows_in, by_cause, set_aside)
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
    found = {entry["values"]: entry["counts"] for entry in counted}
    assert found.keys() <= CAUSES.keys(), found.keys()
    return {cause: found.get(cause, 0) for cause in CAUSES}


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
    "bad-line": "mend ingest.format, ingest.delimiter or ingest.columns",
    "no-user": "mend ingest.user_column",
    "no-item": "mend ingest.item_column",
    "no-time": "mend ingest.time_column",
    "bad-time": "mend ingest.time_unit or ingest.time_column",
    "bad-weight": "mend ingest.weight_column",
    "low-weight": "lower ingest.minimum_weight",
}


def _nothing_left(
    params: IngestParams, rows_in: int, by_cause: dict[str, int], path: Path
) -> UserError:
    """The error for a log without a good row, with the commonest cause and an example."""
    files = ", ".join(params.files)
    if rows_in == 0:
        return UserError(f"no rows in {files}", "give a file with interactions")
    cause = max(by_cause, key=by_cause.__getitem__)
    table = pq.read_table(path, filters=[("cause", "=", cause)])
    first = {name: value for name, value in table.slice(0, 1).to_pylist()[0].items() if value}
    first.pop("cause")
    example = ", ".join(f"{name} {str(value)[:60]!r}" for name, value in first.items())
    return UserError(
        f"none of the {rows_in:,} rows of {files} is any good: {by_cause[cause]:,} times {cause}, "
        f"which is to say {CAUSES[cause]}; the first of them: {example}",
        f"{_FIXES[cause]} in params.yaml",
    )


def _show(report: dict[str, Any]) -> None:
    rows = {
        "rows": report["rows_in"],
        "interactions": report["rows_out"],
        "users": report["users"],
        "items": report["items"],
    }
    if report["batches"]:
        rows["batches"] = report["batches"]
    if "days" in report:
        rows["days"] = report["days"]
    rows["in quarantine"] = report["quarantined"]
    rows |= {f"  {cause}": count for cause, count in report["quarantine"].items() if count}
    if report["unreadable_titles"]:
        rows["titles left out"] = report["unreadable_titles"]
    notes = {f"  {cause}": text for cause, text in CAUSES.items()}
    if "days" in report:
        notes["days"] = f"{report['first_time'][:10]} to {report['last_time'][:10]}"
    tables.show(f"ingest: {report['name']}", rows, notes)
