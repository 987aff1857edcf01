"""The stage `ingest`: raw files to typed interactions; bad rows go to quarantine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import batches, engine, executors, formats, titles
from recctl.data.clean import clean
from recctl.data.executors import Files
from recctl.data.formats import Staged
from recctl.data.interactions import CAUSES
from recctl.data.params import IngestParams
from recctl.data.spark import spark
from recctl.errors import UserError
from recctl.files import replacing_folder, write_json
from recctl.layout import Layout
from recctl.render import summary


def run(layout: Layout) -> None:
    """Read data/ as params.yaml says and write artifacts/interactions/.

    Raises UserError when the files cannot be read or when no row of them is good.
    """
    params = IngestParams.load(layout.params)
    with (
        engine.scratch(layout.state) as scratch,
        replacing_folder(layout.interactions) as folder,
    ):
        with engine.duckdb(scratch) as reader:
            log = executors.files(params, layout.data) if params.engine == "spark" else None
            staged = log or formats.stage(reader, params, layout.data, scratch)
            named, bad_titles = _titles(params, layout.data, staged)
            pq.write_table(named, folder / "items.parquet")
            count, taken = _batches(reader, staged, params, layout.data)
            with _expressions(params, reader, staged, taken, scratch) as (connection, base, more):
                report = clean(connection, base, more, staged.clock, params, folder)
        report |= {"batches": count, "unreadable_titles": bad_titles}
        write_json(folder / "report.json", report)
    _show(report)


def _titles(params: IngestParams, data: Path, staged: Staged | Files) -> tuple[pa.Table, int]:
    if params.title_column is not None:
        assert isinstance(staged, Staged)
        return titles.of_log(staged), 0
    if params.items_file is None:
        return titles.table({}), 0
    return titles.read(data / params.items_file)


def _batches(
    reader: Any, staged: Staged | Files, params: IngestParams, data: Path
) -> tuple[int, ir.Table | None]:
    """How many batches there are, and their rows in DuckDB as one table."""
    held = batches.held(data)
    if not held:
        return 0, None
    if params.format == "sequences":
        raise UserError(
            f"data/intake holds {len(held)} batches, but a log of format 'sequences' has no times",
            "move data/intake away, or use a log with times",
        )
    first = staged.rows if isinstance(staged, Files) else engine.count(staged.table)
    return len(held), batches.stage(reader, batches.paths(data), first)


@contextlib.contextmanager
def _expressions(
    params: IngestParams,
    reader: Any,
    staged: Staged | Files,
    taken: ir.Table | None,
    scratch: Path,
) -> Iterator[tuple[Any, ir.Table, ir.Table | None]]:
    """Where the expressions run, and the rows of the log and of the batches there."""
    if params.engine == "duckdb":
        assert isinstance(staged, Staged)
        yield reader, staged.table, taken
        return
    tables = {"log": staged.table if isinstance(staged, Staged) else None, "batches": taken}
    files = {
        name: scratch / f"{name}.parquet" for name, table in tables.items() if table is not None
    }
    for name, file in files.items():
        engine.write_parquet(reader, tables[name], file)
    with spark(scratch, params.spark) as connection:
        there = {name: connection.read_parquet(file) for name, file in files.items()}
        base = staged.stage(connection) if isinstance(staged, Files) else there["log"]
        yield connection, base, there.get("batches")


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
    summary.show(f"ingest: {report['name']}", rows, notes)
