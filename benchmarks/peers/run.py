"""recctl's BERT4Rec beside RePlay's, RecTools' and RecBole's, on this machine's processor.

    python benchmarks/peers/run.py [--log ml-1m.txt.gz] [--shape shop] [--threads 2] [--repeats 3]

Each library runs in its own environment in the folder --cache, made on the first call. The figures
are medians of repeats in turns, with their ranges; README.md beside this file says what each of
them computes. Without --log a log of the shape is generated.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from _environments import CACHE, HERE, PEERS, environments, limited, run

from training import SHAPES, log_of

BATCHES = {"ml-1m": (3, 20), "shop": (2, 6)}
"""Of a peer: to warm up, and timed."""
GIBIBYTE = 2**30
Measured = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A row of the table: what is called how."""

    name: str
    command: tuple[str, ...]


def entries(given: argparse.Namespace) -> list[Entry]:
    """What can run here; what cannot is said."""
    ours = str(HERE / "ours.py")
    found = [
        Entry("recctl", (sys.executable, ours)),
        Entry("recctl, as it comes", (sys.executable, ours, "--attention-dropout", "0")),
    ]
    for peer, python in environments(given.peers, given.cache).items():
        found.append(Entry(peer, (python, str(HERE / f"{peer}_bert4rec.py"))))
    return found


def measure(given: argparse.Namespace, log: Path) -> dict[str, list[Measured]]:
    """What every entry measured in each repeat, in turns."""
    shape, (warm_up, batches) = SHAPES[given.shape], BATCHES[given.shape]
    arguments = {
        "log": log.resolve(),
        "max-length": int(shape["max_length"]),
        "mask": shape["mask"],
        "warm-up": warm_up,
        "batches": given.batches or batches,
        "users": given.users,
        "threads": given.threads,
        "workers": given.workers,
    }
    common = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
    running, variables = entries(given), limited(given.threads)
    if given.keep_memory:
        kept = str(GIBIBYTE)
        variables |= {"MALLOC_MMAP_THRESHOLD_": kept, "MALLOC_TRIM_THRESHOLD_": kept}
    measured: dict[str, list[Measured]] = {}
    for repeat in range(given.repeats):
        for entry in list(running):
            print(f"repeat {repeat + 1} of {given.repeats}: {entry.name}", flush=True)
            try:
                printed = run([*entry.command, *common], **variables)
            except RuntimeError as error:
                print(f"{entry.name} left out: {error}")
                running.remove(entry)
                continue
            found = json.loads(printed.splitlines()[-1])
            measured.setdefault(entry.name, []).append(found)
    return measured


def cells(found: list[Measured], ours: list[Measured]) -> list[str]:
    """Median, range and ratio to ours of each figure; more than 1x is in our favour."""
    row = []
    for figure, unit, form in (
        ("train", 1, ",.0f"),
        ("evaluate", 1, ",.0f"),
        ("memory", GIBIBYTE, ".2f"),
        ("data", 1, ".2f"),
    ):
        values = [one[figure] / unit for one in found]
        middle, best = statistics.median(values), statistics.median(one[figure] for one in ours)
        ratio = middle * unit / best
        if figure in ("train", "evaluate"):
            ratio = 1 / ratio
        spread = f"{min(values):{form}} - {max(values):{form}}"
        row += [f"{middle:{form}}\n[dim]{spread}[/dim]", f"{ratio:.2g}x"]
    return row


def show(given: argparse.Namespace, measured: dict[str, list[Measured]]) -> None:
    """The table."""
    data = given.log.name if given.log else f"a generated log of {given.shape}'s shape"
    shape = SHAPES[given.shape]
    table = Table(
        title=f"BERT4Rec on {data}: d=64, 2 layers, 2 heads, length {shape['max_length']}, "
        f"mask {shape['mask']}, batch 128, fp32, {given.threads} threads, torch "
        f"{next(iter(measured.values()))[0]['torch']}",
        caption="x: how many times better ours is (rates: ours / it; memory, seconds: it / ours)",
        show_lines=True,
    )
    table.add_column("")
    for title in ("train\nsequences/s", "evaluate\nusers/s", "peak RSS\nGiB", "seconds\nto data"):
        table.add_column(title, justify="right")
        table.add_column("x", justify="right")
    ours = measured.get("recctl")
    for name, found in measured.items():
        label = name.replace("recctl", found[0]["name"]) if "recctl" in name else found[0]["name"]
        table.add_row(label, *cells(found, ours or found))
    Console(width=max(110, Console().width)).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, such as ml-1m")
    parser.add_argument("--shape", choices=list(SHAPES), default="ml-1m")
    parser.add_argument("--threads", type=int, default=2, help="and processor cores")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batches", type=int, help="batches timed, of the peers")
    parser.add_argument("--users", type=int, default=6000, help="users evaluated")
    parser.add_argument("--workers", type=int, default=0, help="processes of the peers' loaders")
    parser.add_argument(
        "--keep-memory", action="store_true", help="make glibc keep freed memory, as recctl does"
    )
    parser.add_argument("--cache", type=Path, default=CACHE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = given.log or write(given.shape, Path(folder) / "log.txt")
        measured = measure(given, log)
    if measured:
        show(given, measured)


def write(shape: str, path: Path) -> Path:
    """A generated log as `user item` lines."""
    histories = log_of(None, shape)
    with path.open("w") as file:
        for user in range(len(histories)):
            file.writelines(f"{user + 1} {item + 1}\n" for item in histories[user])
    return path


if __name__ == "__main__":
    main()
