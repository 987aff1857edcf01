"""Batches: new interactions beside the base files, each a parquet file in `data/intake/`.

A batch holds rows that were read and classified when they arrived (`interactions.classified`), with
the source's text; its header, in the parquet metadata, records their source. Batches are never
changed: a version of `data/` is the base files and the batches in the order of their names.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import interactions
from recctl.data.interactions import CAUSES
from recctl.data.params import IngestParams
from recctl.errors import UserError

FOLDER = "intake"
"""Below data/."""
NAME = re.compile(r"^([0-9]{6})-[0-9a-f]{8}\.parquet$")
_KEY = b"recctl.batch"

SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.string(),
        "timestamp": pa.string(),
        "weight": pa.string(),
        "line": pa.string(),
        "us": pa.int64(),
        "value": pa.float64(),
        "cause": pa.string(),
    }
)
"""The source's text; the time in microseconds and the weight as read; the cause, null if good.

The cause `low-weight` is not set here, because `ingest.minimum_weight` may change.
"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The header of one batch: its source and counts."""

    file: str
    """Its name below data/intake/."""
    source: str
    """The kind and the path or name of the source, as in `folder:incoming`."""
    name: str
    """The file, query or address within it."""
    sha256: str
    """Of the source's content."""
    rows: int
    """Rows of the source: `new`, `duplicates` and `bad` together."""
    new: int
    """Interactions that were not held before."""
    duplicates: int
    """Rows that are held already, or repeat an earlier row of the source."""
    late: int
    """New interactions that are not later than all those held before."""
    out_of_order: int
    """New interactions with a time before that of the row above them in the source."""
    bad: dict[str, int] = field(default_factory=dict)
    """Rows that go to quarantine, by cause."""
    first_us: int | None = None
    """Time of the earliest new interaction, in microseconds since 1970-01-01 UTC."""
    last_us: int | None = None
    watermark: dict[str, Any] | None = None
    """Of a query: the highest value read, as `type` and `value`."""

    @property
    def first_time(self) -> str | None:
        """Time of the earliest new interaction, ISO 8601."""
        return iso(self.first_us)

    @property
    def last_time(self) -> str | None:
        """Time of the latest new interaction, ISO 8601."""
        return iso(self.last_us)

    @property
    def stored(self) -> int:
        """Rows that are in the batch."""
        return self.new + sum(self.bad.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with times in ISO 8601."""
        plain = asdict(self)
        del plain["first_us"], plain["last_us"]
        return {**plain, "first_time": self.first_time, "last_time": self.last_time}


def iso(microseconds: int | None, timespec: str = "auto") -> str | None:
    """A time as ISO 8601 text.

    >>> iso(1_600_000_000_500_000)
    '2020-09-13T12:26:40.500000+00:00'
    """
    if microseconds is None:
        return None
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return time.isoformat(timespec=timespec)


def header(batch: Batch) -> dict[bytes, bytes]:
    """The parquet metadata that holds a batch's header, without its file name."""
    content = {"schema": 1, **asdict(batch)}
    del content["file"]
    return {_KEY: json.dumps(content, ensure_ascii=False, allow_nan=False).encode()}


def paths(data: Path) -> list[Path]:
    """The batches below data/, in order."""
    folder = data / FOLDER
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.match(path.name))


def read(path: Path) -> Batch:
    """The header of a batch; UserError when the file is not a batch or is damaged."""
    try:
        parquet = pq.read_metadata(path)
        content = json.loads((parquet.metadata or {})[_KEY])
        content.pop("schema")
        batch = Batch(file=path.name, **content)
    except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise _damaged(path, " ".join(str(error).split())) from None
    if parquet.num_rows != batch.stored or parquet.schema.names != SCHEMA.names:
        raise _damaged(path, "its rows do not match its header")
    unknown = batch.bad.keys() - CAUSES.keys()
    if unknown:
        raise _damaged(path, f"unknown cause {', '.join(sorted(unknown))}")
    return batch


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path} is not a batch of interactions ({reason})",
        "restore it with 'dvc checkout --force data.dvc'",
    )


def held(data: Path) -> list[Batch]:
    """The headers of all batches below data/, in order."""
    return [read(path) for path in paths(data)]


def next_name(data: Path, sha256: str) -> str:
    """The name of the next batch in data/.

    >>> next_name(Path("/nowhere"), "ab12cd34ef")
    '000001-ab12cd34.parquet'
    """
    taken = [int(path.name[:6]) for path in paths(data)]
    return f"{max(taken, default=0) + 1:06d}-{sha256[:8]}.parquet"


def stage(connection: Any, files: Sequence[Path], first_row: int) -> ir.Table:
    """The rows of batches as one table in DuckDB, numbered on from `first_row`."""
    names = [str(path) for path in files]
    raw = connection.read_parquet(names)
    # The cast sets the types of columns that hold only nulls.
    typed = raw.cast(ibis.Schema.from_pyarrow(SCHEMA))
    numbered = typed.mutate(row=ibis.row_number() + first_row)
    return connection.create_table("batches", numbered.select(*COLUMNS), temp=True)


def union(typed: ir.Table, taken: ir.Table, params: IngestParams) -> ir.Table:
    """The classified rows of base files and batches as one table."""
    rows = interactions.weighed(taken, params)
    return ibis.union(typed.select(*COLUMNS), rows.select(*COLUMNS))


COLUMNS = ("row", *SCHEMA.names)
"""Of the staged batches; also what `interactions.classified` makes of other rows."""
