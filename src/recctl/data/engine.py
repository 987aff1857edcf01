"""Where table expressions run: DuckDB inside this process, or Spark."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import Error, IOException, OutOfMemoryException

from recctl.errors import UserError
from recctl.files import damaged, naming, opened_parquet

MEMORY_LIMIT = 3 * 2**30
"""Bytes DuckDB may hold before it spills to disk; or half of the machine's memory, if less."""


@contextlib.contextmanager
def scratch(state: Path) -> Iterator[Path]:
    """A folder in `state` that is deleted at the end."""
    state.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix="tables-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def duckdb(state: Path) -> Iterator[Any]:
    """An ibis connection to an embedded DuckDB with bounded memory.

    Raises UserError when the disk is full, a file cannot be read or memory does not suffice.
    """
    with scratch(state) as spill, _circumstances():
        connection = ibis.duckdb.connect(
            memory_limit=f"{_memory_limit() // 2**20}MiB",
            threads=threads(),
            temp_directory=str(spill),
        )
        try:
            yield connection
        finally:
            connection.disconnect()


@contextlib.contextmanager
def _circumstances() -> Iterator[None]:
    """Turns DuckDB's errors of disk and memory into a UserError."""
    try:
        yield
    except (IOException, OutOfMemoryException) as error:
        text = " ".join(str(error).split())
        raise (
            shortage(error)
            or UserError(f"DuckDB cannot read or write ({text})", "check the file named")
        ) from None


def shortage(error: BaseException | None) -> UserError | None:
    """The error for a lack of disk or memory that DuckDB reports; None for any other error.

    >>> print(shortage(IOException("IO Error: No space left on device")))
    no space left on the disk (IO Error: No space left on device); free some disk space
    """
    text = " ".join(str(error).split())
    if isinstance(error, OutOfMemoryException):
        return UserError(
            f"DuckDB has too little memory and disk space ({text})",
            "free some disk space for .recctl, or use a machine with more memory",
        )
    if isinstance(error, IOException) and any(full in text for full in _FULL):
        return UserError(f"no space left on the disk ({text})", "free some disk space")
    return None


_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))


@contextlib.contextmanager
def reading(path: Path, made_by: str) -> Iterator[None]:
    """Turns damage found in a parquet file (or a folder of them) of a stage into a UserError."""
    try:
        with naming(path):
            yield
    except (IOException, OutOfMemoryException):  # more likely the machine's fault than the file's
        raise
    except (Error, pa.ArrowInvalid) as error:
        raise damaged(path, made_by, " ".join(str(error).split())) from None
    except OSError as error:
        if error.errno:
            raise
        raise damaged(path, made_by, " ".join(str(error).split())) from None


def rows(connection: Any, expression: ir.Table) -> list[dict[str, Any]]:
    """The rows of a small result, times with their zone."""
    query = connection.compile(expression)
    if connection.name == "duckdb":
        # ibis 12 asks for them by a method that duckdb 2 no longer has.
        table = connection.con.sql(query).to_arrow_table()
    else:
        # ibis would take them through pandas, where large integers beside nulls are rounded.
        table = connection.raw_sql(query).toArrow()
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def one_row(connection: Any, expression: ir.Table) -> dict[str, Any]:
    """The only row of an expression, its times with their zone."""
    [row] = rows(connection, expression)
    return row


def row(expression: Any) -> dict[str, Any]:
    """The only row of an expression without times."""
    [row] = expression.to_pyarrow().to_pylist()
    return dict(row)


def count(table: ir.Table) -> int:
    """How many rows a table has."""
    return int(table.count().to_pyarrow().as_py())


def quoted(text: str) -> str:
    """Text as an SQL literal; ibis would quote it as Python does."""
    return "'" + text.replace("'", "''") + "'"


def write_parquet(connection: Any, expression: ir.Table, path: Path) -> int:
    """Write an expression's rows in their order to one parquet file, and return their number."""
    query = connection.compile(expression)
    if connection.name == "duckdb":
        connection.con.execute(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet)")
    else:
        with scratch(path.parent) as folder:
            # The executors write: a result in the driver's memory would bound the size of logs.
            connection.raw_sql(query).write.parquet(f"{folder / 'parts'}")
            _join(sorted((folder / "parts").glob("part-*")), expression, path)
    return int(pq.read_metadata(path).num_rows)


def _join(parts: list[Path], expression: ir.Table, path: Path) -> None:
    """Files whose rows are in the order of their names as one file."""
    schema = expression.schema().to_pyarrow()
    with pq.ParquetWriter(path, schema) as writer:
        for part in parts:
            with opened_parquet(part) as file:
                for batch in file.iter_batches(_JOINED):
                    writer.write_table(pa.Table.from_batches([batch]).cast(schema))


_JOINED = 500_000
"""Rows that are in memory at a time."""


def threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_limit() -> int:
    if not hasattr(os, "sysconf"):
        return MEMORY_LIMIT
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(MEMORY_LIMIT, physical // 2)
