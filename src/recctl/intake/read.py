"""One file of interactions to one batch: read, checked, compared with known rows, counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import ibis.expr.types as ir

from recctl.data import batches, engine, formats, interactions
from recctl.data.batches import Batch
from recctl.data.clean import no_good_row
from recctl.data.interactions import CAUSES
from recctl.data.params import Format, IngestParams
from recctl.errors import UserError
from recctl.files import digest, sync
from recctl.intake import base, folder
from recctl.layout import Layout

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
}


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A file from a source."""

    path: Path
    source: str
    name: str
    """The file, query or address, as shown to the user."""
    watermark: dict[str, Any] | None = None
    whole: Callable[[], bool] = lambda: True
    """Whether the file has not changed since before it was read."""


class Changed(Exception):
    """The file was written to while it was read; no row of it was taken."""


class NotInteractions(UserError):
    """The file cannot be read as interactions: the fault is in the file, not in the machine."""


class NoGoodRow(NotInteractions):
    """All rows are bad: most likely the settings do not fit the file, so no row is taken."""


@dataclass(frozen=True)
class Known:
    """A file without new rows."""

    source: str
    name: str
    rows: int
    """0 where the same content was taken before and was not read again."""


def work(layout: Layout) -> Path:
    """The folder of unfinished files; on the file system of data/, so that they can be renamed."""
    return layout.state / "intake" / "work"


def form(name: str, params: IngestParams) -> Format:
    """The format of a file by its suffix: a known one, or that of a base file with the same suffix.

    Raises UserError for any other name.
    """
    suffix = _suffix(name)
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    if suffix and suffix in map(_suffix, params.files):
        return params.format
    raise UserError(
        f"the suffix of {name} is not that of a known format",
        f"rename it to end in {', '.join(_FORMATS)}, perhaps followed by {', '.join(_PACKED)}",
    )


_PACKED = (".gz", ".bz2", ".zst", ".xz")


def _suffix(name: str) -> str:
    """The suffix of a file's name, without that of its compression."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def reading(path: Path, name: str, params: IngestParams) -> IngestParams:
    """The settings to read the file with: those of `ingest`, in the format of its suffix."""
    kind = form(name, params)
    own, table = kind == params.format, kind in ("csv", "tsv")
    return params.model_copy(
        update={
            "files": [path.name],
            "format": kind,
            "delimiter": params.delimiter if own else None,
            "columns": params.columns if table else None,
            "encoding": params.encoding if own or table else None,
            "decimal": params.decimal if table else None,
            "items_file": None,
            "title_column": None,  # a batch holds no titles
            "minimum_weight": None,  # ingest applies these two to all rows
            "anonymous": None,
        }
    )


def store(
    layout: Layout,
    params: IngestParams,
    arrival: Arrival,
    held: Sequence[Batch],
) -> Batch | Known:
    """Write the new rows of a file as a batch in data/intake/; the rename there commits it.

    `held` are the batches that are there. Raises NotInteractions when the file cannot be read as
    interactions, UserError when the base files cannot, or when disk or memory does not suffice,
    Changed when the file changed while it was read.
    """
    sha256 = digest(arrival.path)
    # rows that were bad may be good now: settings change
    good = [batch for batch in held if not batch.bad]
    if any(batch.sha256 == sha256 and batch.source == arrival.source for batch in good):
        return Known(arrival.source, arrival.name, 0)
    base_rows = base.rows(layout, params)
    with engine.scratch(work(layout)) as scratch, engine.duckdb(scratch) as connection:
        con = connection.con
        incoming = _load(connection, params, arrival, scratch)
        _compare(con, layout.data, held, base_rows)
        file = batches.next_name(layout.data, sha256)
        batch = _counted(con, arrival, file, sha256, _newest(con, held, base_rows))
        if not arrival.whole():
            raise Changed
        # fetchall, because DuckDB runs nothing else before a result has been read to its end
        [[good_rows]] = con.execute("SELECT count(*) FROM first").fetchall()
        if batch.rows and not good_rows:
            what, _ = no_good_row(connection, incoming, batch.rows, arrival.name)
            raise NoGoodRow(what, "correct the file, or the settings of ingest in params.yaml")
        _check_unit(con, arrival, base_rows, params)
        if not batch.stored:
            return Known(arrival.source, arrival.name, batch.rows)
        _write(con, batch, scratch / "batch.parquet")
        _commit(scratch / "batch.parquet", layout.data / batches.FOLDER / batch.file)
    return batch


def _load(connection: Any, params: IngestParams, arrival: Arrival, scratch: Path) -> ir.Table:
    """The table `incoming` in DuckDB: the file's rows, classified."""
    plain = scratch / "incoming"  # a name without the signs of a glob pattern
    plain.symlink_to(arrival.path.resolve())
    try:
        own = reading(plain, folder.shown(arrival.path), params)
        staged = formats.stage(connection, own, scratch, scratch)
    except UserError as error:
        # DuckDB's own error is the context of the UserError
        lacking = engine.shortage(error.__context__)
        raise lacking or NotInteractions(str(error).replace(str(plain), arrival.name)) from None
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
            raise  # more likely the machine's fault than the file's
        reason = " ".join(str(error).split()).replace(str(plain), arrival.name)
        raise NotInteractions(f"{arrival.name} cannot be read ({reason:.300})") from None
    typed = interactions.classified(staged.table, own, staged.clock)
    return connection.create_table("incoming", typed.select(*batches.COLUMNS), temp=True)


def _check_unit(con: Any, arrival: Arrival, base_rows: Path, params: IngestParams) -> None:
    """Refuse times of a coarser unit than the log's, which would be read as January 1970."""
    if params.time_unit not in ("ms", "us", "ns") or params.time_format is not None:
        return
    [before] = con.execute(f"SELECT min(us) FROM {_parquet([base_rows])}").fetchone()
    count, example = con.execute(
        "SELECT count(*), min(timestamp) FROM incoming WHERE cause IS NULL AND us BETWEEN 1 AND ?",
        [_1971],
    ).fetchone()
    if count and before is not None and before > _1971:
        raise NotInteractions(
            f"{count:,} times of {arrival.name} are of January 1970 in ingest.time_unit "
            f"{params.time_unit}, such as {example!r}",
            "convert them to that unit",
        )


_1971 = 31_536_000_000_000
"""In microseconds."""
_BAD = ("cause", "user_id", "item_id", "timestamp", "weight", "line")


def _compare(con: Any, data: Path, held: Sequence[Batch], base_rows: Path) -> None:
    """Make two tables of row numbers: `first`, the distinct good rows; `fresh`, those to store."""
    keys = ", ".join(base.COLUMNS)
    con.execute(
        f"CREATE TEMP TABLE first AS SELECT min(row) AS row, {keys} FROM incoming "
        f"WHERE cause IS NULL GROUP BY {keys}"
    )
    low, high = con.execute("SELECT min(us), max(us) FROM first").fetchone()
    con.execute(
        "CREATE TEMP TABLE fresh AS SELECT row FROM first "
        + _unknown_good(data, held, base_rows, low, high)
    )
    con.execute(
        "INSERT INTO fresh SELECT row FROM incoming AS one WHERE cause IS NOT NULL "
        + _unknown_bad(data, [batch for batch in held if batch.bad])
    )


def _counted(con: Any, arrival: Arrival, file: str, sha256: str, newest: int | None) -> Batch:
    """The batch that the rows to store will be; `newest` is the latest time held before."""
    new, late, out_of_order, first, last = con.execute(
        """
        WITH good AS (
            SELECT row, us, lag(us) OVER (ORDER BY row) AS before
            FROM incoming WHERE cause IS NULL
        )
        SELECT count(*), count(*) FILTER (us <= $newest), count(*) FILTER (us < before),
            min(us), max(us)
        FROM good SEMI JOIN fresh USING (row)
        """,
        {"newest": newest},
    ).fetchone()
    causes = con.execute(
        "SELECT cause, count(*) FROM incoming SEMI JOIN fresh USING (row) "
        "WHERE cause IS NOT NULL GROUP BY cause"
    )
    by_cause = dict(causes.fetchall())
    [rows] = con.execute("SELECT count(*) FROM incoming").fetchone()
    return Batch(
        file=file,
        source=arrival.source,
        name=arrival.name,
        sha256=sha256,
        rows=rows,
        new=new,
        duplicates=rows - new - sum(by_cause.values()),
        late=late,
        out_of_order=out_of_order,
        bad={cause: by_cause[cause] for cause in CAUSES if cause in by_cause},
        first_us=first,
        last_us=last,
        watermark=arrival.watermark,
    )


def _unknown_good(
    data: Path, held: Sequence[Batch], base_rows: Path, low: int | None, high: int | None
) -> str:
    if low is None or high is None:
        return ""
    keys = ", ".join(base.COLUMNS)
    within = f"us BETWEEN {low} AND {high}"
    known = f"SELECT {keys} FROM {_parquet([base_rows])} WHERE {within}"
    near = [batch for batch in held if _overlaps(batch, low, high)]
    if near:
        known += f" UNION ALL SELECT {keys} FROM {_files(data, near)} "
        known += f"WHERE {within} AND cause IS NULL"
    return f"ANTI JOIN ({known}) AS held USING ({keys})"


def _overlaps(batch: Batch, low: int, high: int) -> bool:
    if batch.first_us is None or batch.last_us is None:
        return False
    return batch.first_us <= high and low <= batch.last_us


def _newest(con: Any, held: Sequence[Batch], base_rows: Path) -> int | None:
    """The latest time of all interactions held."""
    [in_base] = con.execute(f"SELECT max(us) FROM {_parquet([base_rows])}").fetchone()
    times = [in_base, *(batch.last_us for batch in held)]
    return max((time for time in times if time is not None), default=None)


def _unknown_bad(data: Path, held: Sequence[Batch]) -> str:
    if not held:
        return ""
    same = " AND ".join(f"held.{key} IS NOT DISTINCT FROM one.{key}" for key in _BAD)
    return (
        f"AND NOT EXISTS (SELECT 1 FROM {_files(data, held)} AS held "
        f"WHERE held.cause IS NOT NULL AND {same})"
    )


def _files(data: Path, held: Sequence[Batch]) -> str:
    return _parquet([data / batches.FOLDER / batch.file for batch in held])


def _parquet(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(engine.quoted(str(path)) for path in paths)}])"


def _write(con: Any, batch: Batch, path: Path) -> None:
    [(key, header)] = batches.header(batch).items()
    columns = ", ".join(batches.SCHEMA.names)
    con.execute(
        f"COPY (SELECT {columns} FROM incoming SEMI JOIN fresh USING (row) ORDER BY row) "
        f"TO {engine.quoted(str(path))} (FORMAT parquet, "
        f"KV_METADATA {{{engine.quoted(key.decode())}: {engine.quoted(header.decode())}}})"
    )


def _commit(written: Path, target: Path) -> None:
    """Rename a whole batch into place: from here on its rows are taken."""
    target.parent.mkdir(exist_ok=True)
    sync(written)
    written.rename(target)
    sync(target.parent)
    sync(target.parent.parent)
