"""A million new events from a csv, a parquet file and a database: seconds of `recctl intake`.

    python benchmarks/intake.py [--interactions 1000000]

Each intake is a separate process, imports and `dvc add` included, on two cores where the system
allows choosing them. They run in sequence, so each is compared with more rows already held. The aim
is less than 15 seconds each.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from _generate_log import batches, write

USERS, ITEMS = 100_000, 20_000
RECCTL = str(Path(sys.executable).with_name("recctl"))
FOLDER = {"kind": "folder", "path": "incoming"}
QUERY = {
    "kind": "sql",
    "name": "shop",
    "url": "sqlite:///shop.db",
    "query": "select * from events where id > :watermark order by id",
    "watermark": "id",
}


def project(folder: Path) -> None:
    """A project with a small log that DVC holds."""
    (folder / "data").mkdir()
    (folder / "incoming").mkdir()
    (folder / "dvc.yaml").write_text("stages: {}\n")
    write(folder / "data" / "log.csv", batches(1_000, 100, 100, seed=9))
    sources([FOLDER], folder)
    for command in (["init", "--no-scm", "--quiet"], ["add", "--quiet", "data"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=folder, check=True)


def sources(given: list[dict[str, str]], folder: Path) -> None:
    ingest = {"name": "bench", "files": ["log.csv"], "format": "csv"}
    with (folder / "params.yaml").open("w") as file:
        YAML().dump({"ingest": ingest, "intake": {"sources": given}}, file)


def drop(folder: Path, name: str, interactions: int, seed: int) -> None:
    """A whole file in incoming/, old enough not to be waited for."""
    path = folder / "incoming" / name
    write(path, batches(interactions, USERS, ITEMS, seed))
    os.utime(path, (time.time() - 60,) * 2)


def fill(folder: Path, interactions: int, seed: int) -> None:
    """The events in a database, in the order of their arrival."""
    with sqlite3.connect(folder / "shop.db") as shop:
        shop.execute("create table events (id integer primary key, user_id, item_id, timestamp)")
        for batch in batches(interactions, USERS, ITEMS, seed):
            columns = [column.to_pylist() for column in pa.table(batch).columns]
            rows = zip(*columns, strict=True)
            shop.executemany(
                "insert into events (user_id, item_id, timestamp) values (?, ?, ?)", rows
            )
    sources([QUERY], folder)


def intake(folder: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak GiB of one intake with its DVC; raises when it fails."""
    start = time.perf_counter()
    with subprocess.Popen(
        [RECCTL, "intake"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the intake ended with exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = time.perf_counter() - start
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", type=int, default=1_000_000)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    size = given.interactions
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder)
        cases: dict[str, Callable[[], object]] = {
            "csv": lambda: drop(folder, "day1.csv", size, 1),
            "parquet": lambda: drop(folder, "day2.parquet", size, 2),
            "sqlite": lambda: fill(folder, size, 3),
            "nothing new": lambda: None,
            "csv, all known": lambda: known(folder),
        }
        table = Table("source", "seconds", "CPU seconds", "peak GiB", title=f"{size:,} events each")
        for case, prepare in cases.items():
            prepare()
            seconds, busy, memory = intake(folder)
            table.add_row(case, f"{seconds:.1f}", f"{busy:.1f}", f"{memory:.2f}")
    Console().print(table)


def known(folder: Path) -> None:
    """The first file again, with one line more, so that it has to be read."""
    sources([FOLDER], folder)
    path = folder / "incoming" / "again.csv"
    shutil.copyfile(folder / "incoming" / "taken" / "day1.csv", path)
    with path.open("a") as file:
        file.write("new,new,1700000000\n")
    os.utime(path, (time.time() - 60,) * 2)


if __name__ == "__main__":
    main()
