"""From a raw file to sequences: ingest and sequence-split against a bare DuckDB script.

    python benchmarks/pipeline.py [--log ml-1m.txt.gz] [--repeats 7]

The log is `user item` lines; without --log one of MovieLens 1M's shape is generated. Times are
medians; the two run alternately. Within one process the first run of each is not counted; as
separate processes the time includes Python's start and the imports. Both must produce the same
arrays.
"""

import argparse
import contextlib
import gzip
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import _bare_duckdb
from _generate_log import batches
from recctl.layout import Layout
from recctl.stages import ingest, sequence_split

RECCTL = str(Path(sys.executable).with_name("recctl"))
PARAMS = """
ingest: {{name: bench, files: [{name}], format: sequences}}
sequence-split: {{protocol: leave-one-out, minimum_user_interactions: 5}}
"""


def generated(path: Path) -> Path:
    """A log of MovieLens 1M's size, as `user item` lines."""
    with gzip.open(path, "wt", compresslevel=1) as file:
        for batch in batches(1_000_000, 6040, 3416, seed=0):
            users, items, _ = (column.to_pylist() for column in batch.columns)
            file.writelines(f"{user} {item}\n" for user, item in zip(users, items, strict=True))
    return path


def project(folder: Path, log: Path) -> Layout:
    """A project whose data is the log."""
    (folder / "data").mkdir()
    (folder / "data" / log.name).symlink_to(log.resolve())
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(PARAMS.format(name=log.name))
    return Layout(folder)


def quiet(stage: Callable[[Layout], None], layout: Layout) -> None:
    """Run a stage without its table, which would drown the benchmark's."""
    with contextlib.redirect_stdout(io.StringIO()):
        stage(layout)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, after one run that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats + 1):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def same(ours: Path, bare: Path) -> None:
    """Both must have written the same arrays."""
    for name in ("items", "times", "offsets", "train_end", "validation", "test"):
        one, other = (np.load(folder / f"{name}.npy") for folder in (ours, bare))
        assert np.array_equal(one, other), f"{name}.npy differs"


def command(layout: Layout, *arguments: str) -> None:
    subprocess.run(arguments, cwd=layout.root, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, plain or gzip")
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = given.log or generated(folder / "log.txt.gz")
        measure(project(folder, log), log.resolve(), folder / "bare", given.repeats)


def measure(layout: Layout, log: Path, bare: Path, repeats: int) -> None:
    inside = in_turns(
        {
            "bare": lambda: _bare_duckdb.run(log, bare),
            "ingest": lambda: quiet(ingest.run, layout),
            "sequence-split": lambda: quiet(sequence_split.run, layout),
        },
        repeats,
    )
    same(layout.sequences, bare)
    script = str(Path(_bare_duckdb.__file__).resolve())
    outside = in_turns(
        {
            "bare": lambda: command(layout, sys.executable, script, str(log), str(bare)),
            "ingest": lambda: command(layout, RECCTL, "stage", "ingest"),
            "sequence-split": lambda: command(layout, RECCTL, "stage", "sequence-split"),
        },
        max(3, repeats // 2),
    )
    table = Table("seconds", "in one process", "as processes", title=f"{log.name} to sequences")
    for name in inside:
        label = "bare DuckDB script" if name == "bare" else name
        table.add_row(label, f"{inside[name]:.2f}", f"{outside[name]:.2f}")
    ours = [times["ingest"] + times["sequence-split"] for times in (inside, outside)]
    table.add_row("ingest + sequence-split", *(f"{one:.2f}" for one in ours))
    ratios = [one / times["bare"] for one, times in zip(ours, (inside, outside), strict=True)]
    table.add_row("times the bare script", *(f"{one:.2f}" for one in ratios))
    Console().print(table)


if __name__ == "__main__":
    main()
