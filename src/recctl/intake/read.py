"""One file of interactions to one batch: read, judged, compared with what is held, counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from recctl.data import batches, engine, formats, interactions
from recctl.data.batches import Batch
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
    """A file that has come from a source."""

    path: Path
    source: str
    name: str
    """What people call it: the file, the query, the address."""
    watermark: dict[str, Any] | None = None
    whole: Callable[[], bool] = lambda: True
    """Whether the file is still what it was before it was read."""


class Changed(Exception):
    """The file was written to while it was read; nothing of it was taken."""


class NotInteractions(UserError):
    """What came cannot be read as interactions: the mistake is in it, not in the machine."""


class NoGoodRow(NotInteractions):
    """All rows are bad: most likely they are not read as they should be, so none is taken."""


@dataclass(frozen=True)
class Known:
    """A file that holds nothing new."""

    source: str
    name: str
    rows: int
    """0 where its very content was taken before and was not read again."""


def work(layout: Layout) -> Path:
    """Where files under way lie; on the file system of data/, so that they can be renamed."""
    return layout.state / "intake" / "work"


def form(name: str, params: IngestParams) -> Format:
    """The format that a file's name tells: by its end, or the log's own for a name like its.

    Raises UserError for any other name.
    """
    suffix = _suffix(name)
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    if suffix and suffix in map(_suffix, params.files):
        return params.format
    raise UserError(
        f"the name of {name} tells no format",
        f"let it end in {', '.join(_FORMATS)}, perhaps with {', '.join(_PACKED)} after it",
    )


_PACKED = (".gz", ".bz2", ".zst", ".xz")


def _suffix(name: str) -> str:
    """The end of a file's name, that of its compression left out."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def reading(path: Path, name: str, params: IngestParams) -> IngestParams:
    """How the file is read: as `ingest` says, but in the format that its name tells."""
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
            "minimum_weight": None,  # ingest decides that, for all rows alike
            "anonymous": None,  # and that
        }
    )


def store(
    layout: Layout,
    params: IngestParams,
    arrival: Arrival,
    held: Sequence[Batch],
) -> Batch | Known:
    """Put what is new in a file below data/intake/; the rename there is what takes it in.

    `held` are the batches that are there. Raises NotInteractions when the file cannot be read as
    such, UserError when the base files cannot, or disk or memory does not suffice, Changed when
    the file is no longer what it was.
    """
    sha256 = digest(arrival.path)
    # what was bad may be good by now: settings change
    if any((one.source, one.sha256) == (arrival.source, sha256) for one in held if not one.bad):
        return Known(arrival.source, arrival.name, 0)
    base_rows = base.rows(layout, params)
    with engine.scratch(work(layout)) as scratch, engine.duckdb(scratch) as connection:
        _load(connection, params, arrival, scratch)
        counts = _compare(connection.con, layout.data, held, base_rows)
        if not arrival.whole():
            raise Changed
        if counts.rows and not counts.good:
            raise _no_good_row(connection.con, arrival, counts)
        _check_unit(connection.con, arrival, base_rows, params)
        if not counts.stored:
            return Known(arrival.source, arrival.name, counts.rows)
        batch = Batch(
            file=batches.next_name(layout.data, sha256),
            source=arrival.source,
            name=arrival.name,
            sha256=sha256,
            rows=counts.rows,
            new=counts.new,
            duplicates=counts.rows - counts.stored,
            late=counts.late,
            out_of_order=counts.out_of_order,
            bad=counts.bad,
            first_us=counts.first,
            last_us=counts.last,
            watermark=arrival.watermark,
        )
        _write(connection.con, batch, scratch / "batch.parquet")
        _commit(scratch / "batch.parquet", layout.data / batches.FOLDER / batch.file)
    return batch


def _load(connection: Any, params: IngestParams, arrival: Arrival, scratch: Path) -> None:
    """The table `incoming` in DuckDB: the file's rows, classified."""
    plain = scratch / "incoming"  # a name that no reader takes for a pattern
    plain.symlink_to(arrival.path.resolve())
    try:
        own = reading(plain, folder.shown(arrival.path), params)
        staged = formats.stage(connection, own, scratch, scratch)
    except UserError as error:
        # what DuckDB met is kept as the context of what is told of it
        lacking = engine.shortage(error.__context__)
        raise lacking or NotInteractions(str(error).replace(str(plain), arrival.name)) from None
    except duckdb.Error as error:
        if isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException):
            raise  # rather the machine's trouble than the file's
        reason = " ".join(str(error).split()).replace(str(plain), arrival.name)
        raise NotInteractions(f"{arrival.name} cannot be read ({reason:.300})") from None
    typed = interactions.classified(staged.table, own, staged.clock)
    connection.create_table("incoming", typed.select(*batches.COLUMNS), temp=True)


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """What was found in a file."""

    rows: int
    good: int
    new: int
    late: int
    out_of_order: int
    bad: dict[str, int]
    first: int | None
    last: int | None

    @property
    def stored(self) -> int:
        return self.new + sum(self.bad.values())


def _check_unit(con: Any, arrival: Arrival, base_rows: Path, params: IngestParams) -> None:
    """Refuse times of a coarser unit than the log's, which are dates of January 1970 in that."""
    if params.time_unit not in ("ms", "us", "ns") or params.time_format is not None:
        return
    [before] = con.execute(f"SELECT min(us) FROM {_parquet([base_rows])}").fetchone()
    found = con.execute(
        "SELECT count(*), min(timestamp) FROM incoming WHERE cause IS NULL AND us BETWEEN 1 AND ?",
        [_1971],
    ).fetchone()
    if found[0] and before is not None and before > _1971:
        raise NotInteractions(
            f"{found[0]:,} times of {arrival.name} are of January 1970 in ingest.time_unit "
            f"{params.time_unit}, such as {found[1]!r}",
            "convert them to that unit",
        )


_1971 = 31_536_000_000_000
"""In microseconds."""
_BAD = ("cause", "user_id", "item_id", "timestamp", "weight", "line")


def _compare(con: Any, data: Path, held: Sequence[Batch], base_rows: Path) -> _Counts:
    """Make the table `fresh` of the numbers of the rows to store; what there is to count."""
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
        + _unknown_bad(data, [one for one in held if one.bad])
    )
    found = con.execute(
        """
        WITH good AS (
            SELECT row, us, lag(us) OVER (ORDER BY row) AS before
            FROM incoming WHERE cause IS NULL
        )
        SELECT count(*), count(fresh.row), count(fresh.row) FILTER (us <= $newest),
            count(fresh.row) FILTER (us < before),
            min(us) FILTER (fresh.row IS NOT NULL), max(us) FILTER (fresh.row IS NOT NULL)
        FROM good LEFT JOIN fresh USING (row)
        """,
        {"newest": _newest(con, held, base_rows)},
    ).fetchone()
    bad = con.execute(
        "SELECT cause, count(*) FROM incoming SEMI JOIN fresh USING (row) "
        "WHERE cause IS NOT NULL GROUP BY cause"
    ).fetchall()
    [rows] = con.execute("SELECT count(*) FROM incoming").fetchone()
    good, new, late, out_of_order, first, last = found
    by_cause = dict(bad)
    return _Counts(
        rows=rows,
        good=good,
        new=new,
        late=late,
        out_of_order=out_of_order,
        bad={cause: by_cause[cause] for cause in CAUSES if cause in by_cause},
        first=first,
        last=last,
    )


def _unknown_good(
    data: Path, held: Sequence[Batch], base_rows: Path, low: int | None, high: int | None
) -> str:
    if low is None or high is None:
        return ""
    keys = ", ".join(base.COLUMNS)
    within = f"us BETWEEN {low} AND {high}"
    known = f"SELECT {keys} FROM {_parquet([base_rows])} WHERE {within}"
    near = [one for one in held if _overlaps(one, low, high)]
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
    times = [in_base, *(one.last_us for one in held)]
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
    return _parquet([data / batches.FOLDER / one.file for one in held])


def _parquet(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(_quoted(str(path)) for path in paths)}])"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _no_good_row(con: Any, arrival: Arrival, counts: _Counts) -> NoGoodRow:
    """The error for a file without a good row, with the commonest cause and an example."""
    cause, times = con.execute(
        "SELECT cause, count(*) AS n FROM incoming GROUP BY cause ORDER BY n DESC, cause LIMIT 1"
    ).fetchone()
    shown = con.execute(
        "SELECT user_id, item_id, timestamp, weight, line FROM incoming WHERE cause = ? "
        "ORDER BY row LIMIT 1",
        [cause],
    ).fetchone()
    names = ("user_id", "item_id", "timestamp", "weight", "line")
    first = dict(zip(names, shown, strict=True))
    return NoGoodRow(
        interactions.no_good_row(counts.rows, arrival.name, cause, times, first),
        "correct the file, or the settings of ingest in params.yaml",
    )


def _write(con: Any, batch: Batch, path: Path) -> None:
    [(key, told)] = batches.header(batch).items()
    columns = ", ".join(batches.SCHEMA.names)
    con.execute(
        f"COPY (SELECT {columns} FROM incoming SEMI JOIN fresh USING (row) ORDER BY row) "
        f"TO {_quoted(str(path))} (FORMAT parquet, "
        f"KV_METADATA {{{_quoted(key.decode())}: {_quoted(told.decode())}}})"
    )


def _commit(written: Path, target: Path) -> None:
    """Let a whole batch take its place: from here on it is taken in."""
    target.parent.mkdir(exist_ok=True)
    sync(written)
    written.rename(target)
    sync(target.parent)
    sync(target.parent.parent)
