"""Write an interaction log of any size, in time order, the same for the same seed.

    python benchmarks/_generate_log.py log.csv --interactions 25000000 --users 250000 --items 50000

Users are lognormal in activity and items Zipf in popularity; the log is streamed, so its size
does not matter to memory. A name that ends with .parquet makes a parquet file.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

CHUNK = 1_000_000
START, SPAN = 1_600_000_000, 3 * 365 * 86_400
"""The first second and the length of the log, in seconds."""

SCHEMA = pa.schema({"user_id": pa.int64(), "item_id": pa.int64(), "timestamp": pa.int64()})
LONG_IDS = pa.schema({"user_id": pa.string(), "item_id": pa.string(), "timestamp": pa.int64()})
"""Ids of as many characters as a UUID has."""


def batches(interactions: int, users: int, items: int, seed: int) -> Iterator[pa.RecordBatch]:
    """The log in chunks, in time order."""
    generator = np.random.default_rng(seed)
    by_user = _cumulative(generator.lognormal(0.0, 1.0, users))
    by_item = _cumulative(1.0 / np.arange(1, items + 1))
    for first in range(0, interactions, CHUNK):
        size = min(CHUNK, interactions - first)
        begin, end = (SPAN * n // interactions for n in (first, first + size))
        columns = [
            np.searchsorted(by_user, generator.random(size)),
            np.searchsorted(by_item, generator.random(size)),
            START + np.sort(generator.integers(begin, max(end, begin + 1), size)),
        ]
        yield pa.RecordBatch.from_arrays([pa.array(one) for one in columns], schema=SCHEMA)


def _cumulative(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    total[-1] = 1.0
    return total


def write(path: Path, rows: Iterator[pa.RecordBatch], schema: pa.Schema = SCHEMA) -> None:
    """Stream the batches to a csv or a parquet file."""
    parquet = path.suffix == ".parquet"
    with pq.ParquetWriter(path, schema) if parquet else pyarrow.csv.CSVWriter(path, schema) as file:
        for batch in rows:
            file.write_batch(batch if schema == SCHEMA else _with_long_ids(batch))


def _with_long_ids(batch: pa.RecordBatch) -> pa.RecordBatch:
    ids = [pc.utf8_lpad(one.cast("string"), 36, "0") for one in batch.columns[:2]]
    return pa.RecordBatch.from_arrays([*ids, batch["timestamp"]], schema=LONG_IDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--interactions", type=int, default=25_000_000)
    parser.add_argument("--users", type=int, default=250_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write(given.path, batches(given.interactions, given.users, given.items, given.seed))
    print(f"{given.path}: {given.interactions:,} interactions")


if __name__ == "__main__":
    main()
