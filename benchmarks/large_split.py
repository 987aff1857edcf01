"""A large log after ingest: time and peak memory of validate and sequence-split.

    python benchmarks/large_split.py [--interactions 100000000] [--users 1000000] [--items 100000]

The interactions are generated as `ingest` would write them, so that a log of any size can be used
without the disk of its ingest. Memory is the peak of a stage's resident set.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from large_log import run, write_params
from recctl.data.interactions import INTERACTIONS, QUARANTINE

CHUNK = 2_000_000
START, SPAN = 1_600_000_000_000_000, 3 * 365 * 86_400_000_000
"""Microseconds: the first time and the length of the log."""


def write(path: Path, interactions: int, users: int, items: int) -> None:
    """Users in the order of their ids, each with as many interactions, in the order of time."""
    generator = np.random.default_rng(0)
    schema = INTERACTIONS.to_pyarrow()
    names = pa.array([f"{item:08d}" for item in range(items)])
    each = interactions // users
    with pq.ParquetWriter(path, schema) as file:
        for first in range(0, users, CHUNK // each):
            some = np.arange(first, min(first + CHUNK // each, users))
            size = len(some) * each
            times = START + np.sort(generator.integers(0, SPAN, (len(some), each))).ravel()
            ids = pa.array([f"{user:09d}" for user in some.tolist()])
            columns = [
                ids.take(pa.array(np.repeat(some - first, each))),
                names.take(pa.array((generator.random(size) ** 4 * items).astype(np.int64))),
                pa.array(times).cast(pa.timestamp("us", "UTC")),
                pa.array(np.ones(size)),
                pa.array(np.arange(size) + first * each),
            ]
            file.write_table(pa.table(columns, schema=schema), row_group_size=122_880)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=int, default=100_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the files go (60 bytes an interaction)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        interactions = folder / "artifacts" / "interactions"
        interactions.mkdir(parents=True)
        (folder / "dvc.yaml").touch()
        write_params(folder)
        write(interactions / "interactions.parquet", given.interactions, given.users, given.items)
        titles = pa.table(
            {"item_id": pa.array([], pa.string()), "title": pa.array([], pa.string())}
        )
        pq.write_table(titles, interactions / "items.parquet")
        pq.write_table(QUARANTINE.to_pyarrow().empty_table(), interactions / "quarantine.parquet")
        (interactions / "report.json").write_text('{"name": "bench"}', encoding="utf-8")
        print(f"{given.interactions:,} interactions")
        for stage in ("validate", "sequence-split"):
            seconds, memory = run(stage, folder)
            print(f"{stage}: {seconds:.1f} s, peak {memory:.2f} GiB")


if __name__ == "__main__":
    main()
