"""What the rules check: narrow tables of the interactions, computed by ibis on DuckDB.

Great Expectations on pandas would need many times the memory for the log as a whole, so it gets
the log's rows in parts and all else as summaries. Both are exact: nothing is sampled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import engine
from recctl.data.interactions import INTERACTIONS, ON_PURPOSE
from recctl.data.parts import by_users
from recctl.files import missing, opened_parquet, read_json, require_columns

PART_ROWS = 2_000_000
"""Rows of the log that Great Expectations sees at once."""

MOST_GROUPS = 100_000
"""Groups of suspected duplicates that are checked."""


@dataclass(frozen=True)
class Log:
    """The files that ingest wrote."""

    folder: Path

    @property
    def interactions(self) -> Path:
        return self.folder / "interactions.parquet"

    @property
    def quarantine(self) -> Path:
        return self.folder / "quarantine.parquet"

    def name(self) -> str:
        """The data set's name, as ingest reports it."""
        report = read_json(self.folder / "report.json", made_by="ingest")
        return str(report.get("name", "")) if isinstance(report, dict) else ""

    def rows(self) -> int:
        """How many interactions there are."""
        return int(pq.read_metadata(self.interactions).num_rows)

    def parts(self) -> Iterator[pd.DataFrame]:
        """The rows, at most PART_ROWS at a time, numbered through; one empty part if none."""
        start = 0
        with opened_parquet(self.interactions) as file:
            for batch in file.iter_batches(batch_size=PART_ROWS):
                part = batch.to_pandas()
                part.index = pd.RangeIndex(start, start + len(part))
                start += len(part)
                yield part
            if start == 0:
                yield file.schema_arrow.empty_table().to_pandas()


def schema(log: Log) -> pd.DataFrame:
    """The columns of interactions.parquet: `column`, `expected` and `found` types.

    Raises UserError when ingest's files are missing or not parquet.
    """
    for path in (log.interactions, log.quarantine):
        if not path.is_file():
            raise missing(path, made_by="ingest")
    require_columns(log.quarantine, "ingest", ["cause"])
    with engine.reading(log.interactions, "ingest"):
        found = pq.read_schema(log.interactions)
    expected = {column.name: str(column.type) for column in INTERACTIONS.to_pyarrow()}
    return pd.DataFrame(
        [
            {"column": name, "expected": expected.get(name, "absent"), "found": _found(found, name)}
            for name in dict.fromkeys([*expected, *found.names])
        ]
    )


def _found(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "absent"
    # text may have offsets of 32 or of 64 bits
    return str(schema.field(name).type).removeprefix("large_")


def frame(table: ir.Table) -> pd.DataFrame:
    """A table in memory; through arrow, because ibis uses what pandas 3 has deprecated."""
    return pd.DataFrame(table.to_pyarrow().to_pandas())


def counts(interactions: ir.Table, key: str) -> pd.DataFrame:
    """`key` (`user_id` or `item_id`), `interactions`: one row for each, ordered by it."""
    named = interactions.filter(interactions[key].notnull())
    counted = named.group_by(key).agg(interactions=named.count())
    return frame(counted.order_by(key))


def suspects(interactions: ir.Table) -> pd.DataFrame:
    """Rows that may be duplicates: all that share a hash of their values with another.

    Exact duplicates are among them without fail; Great Expectations then compares the values.
    Of a log that was doubled, the first MOST_GROUPS groups are enough to say so.
    """
    found, groups = [frame(interactions.limit(0))], 0
    for part in by_users(interactions):  # duplicates are of one user
        hashed = part.mutate(key=_hash(part))
        keys = np.sort(hashed.select("key").to_pyarrow()["key"].to_numpy())
        shared = np.unique(keys[1:][keys[1:] == keys[:-1]])[: MOST_GROUPS - groups]
        if len(shared):
            groups += len(shared)
            rows = hashed.semi_join(ibis.memtable({"key": shared}), "key").drop("key")
            found.append(frame(rows.order_by("user_id", "timestamp", "item_id", "row")))
    return pd.concat(found, ignore_index=True)


def _hash(rows: ir.Table) -> Any:
    # Without the shift, user 1 with item 2 would be user 2 with item 1.
    ids = rows.user_id.hash() ^ (rows.item_id.hash() >> 1)
    return ids ^ rows.timestamp.hash() ^ rows.weight.hash()


def quarantine(quarantined: ir.Table, interactions: int) -> pd.DataFrame:
    """`cause`, `rows`, `share` of all rows of the source, for the causes that are faults."""
    counts = frame(quarantined.group_by("cause").agg(rows=quarantined.count()))
    everything = interactions + int(counts["rows"].sum())
    faults = counts[~counts["cause"].isin(ON_PURPOSE)]
    return pd.DataFrame(
        faults.assign(share=faults["rows"] / max(everything, 1)).sort_values(
            ["rows", "cause"], ascending=[False, True], ignore_index=True
        )
    )
