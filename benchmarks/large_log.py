"""A large log from csv to sequences: time and peak memory of ingest, validate, sequence-split.

    python benchmarks/large_log.py [--interactions 25000000] [--users 250000] [--items 50000]
    python benchmarks/large_log.py --parquet --long-ids --spark 'local-cluster[2,1,1024]'
    python benchmarks/large_log.py --interactions 20000000 --users 138000 --items 27000 --train

The log is generated. Each stage is a separate process, on two cores where the system allows
choosing them; memory is the peak of its resident set, with Spark that of the Python process; disk
is the most that was used beside the log. --train adds one epoch of the default training. The aim
for 25 million interactions: less than three minutes in all, and never more than 6 GiB.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from _generate_log import LONG_IDS, SCHEMA, batches, write

SPLIT = {"protocol": "leave-one-out", "minimum_user_interactions": 5}
DRIVER = {"spark.driver.memory": "512m"}
"""The least heap that Spark accepts for its driver."""
STAGES = ("ingest", "validate", "sequence-split")
RECCTL = str(Path(sys.executable).with_name("recctl"))


def write_params(folder: Path, spark: str | None = None, kind: str = "csv") -> None:
    """The settings of a log, csv or parquet, ingested on DuckDB or on Spark."""
    ingest: dict[str, Any] = {"name": "bench", "files": [f"log.{kind}"], "format": kind}
    if spark is not None:
        remote = spark.startswith("sc://")
        place = {"remote": spark} if remote else {"master": spark, "config": DRIVER}
        ingest |= {"engine": "spark", "spark": place}
    sections = {"ingest": ingest, "validate": {}, "sequence-split": SPLIT, "evaluate": {}}
    sections["train"] = {"max_epochs": 1}
    YAML(typ="safe").dump(sections, folder / "params.yaml")


class Disk:
    """The most bytes that were in use on a folder's disk, beyond those at the beginning."""

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self._folder, self._ended = folder, threading.Event()
        self._before = shutil.disk_usage(folder).used
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            self.most = max(self.most, shutil.disk_usage(self._folder).used - self._before)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def run(name: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak GiB of one stage; raises when it fails."""
    start = time.perf_counter()
    with subprocess.Popen(
        [RECCTL, "stage", name], cwd=folder, stdout=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"stage {name} ended with exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=int, default=25_000_000)
    parser.add_argument("--users", type=int, default=250_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, help="where to put the log (about 2 GB)")
    parser.add_argument("--parquet", action="store_true", help="the log is parquet, not csv")
    parser.add_argument("--long-ids", action="store_true", help="as long as UUIDs")
    parser.add_argument("--train", action="store_true", help="and train one epoch")
    parser.add_argument("--spark", help="a master, or a server sc://... of Spark Connect")
    parser.add_argument("--log", help="accepted for 'make bench' and ignored")
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "dvc.yaml").touch()
        kind = "parquet" if given.parquet else "csv"
        write_params(folder, given.spark, kind)
        log = batches(given.interactions, given.users, given.items, seed=0)
        schema = LONG_IDS if given.long_ids else SCHEMA
        write(folder / "data" / f"log.{kind}", log, schema)
        with Disk(folder) as disk:
            stages = (*STAGES, "train") if given.train else STAGES
            measured = {stage: run(stage, folder) for stage in stages}
    title = f"{given.interactions:,} interactions, {disk.most / 1e9:,.1f} GB beside the log"
    table = Table("stage", "seconds", "peak GiB", title=title)
    for stage, (seconds, memory) in measured.items():
        table.add_row(stage, f"{seconds:.1f}", f"{memory:.2f}")
    seconds = sum(seconds for seconds, _ in measured.values())
    table.add_row("all", f"{seconds:.1f}", f"{max(memory for _, memory in measured.values()):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
