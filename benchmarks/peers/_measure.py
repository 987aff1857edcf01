"""What the measuring scripts share: arguments, the file, laps of a training, one JSON line."""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import pandas as pd

WIDTH, LAYERS, HEADS, BATCH, DROPOUT = 64, 2, 2, 128, 0.2
EVALUATION_BATCH = 256
"""Users scored at a time by the peers (RecTools' default); ours has 128 on each thread."""


def settings(**more: Any) -> argparse.Namespace:
    """The arguments that every script takes, and `more` (float) ones with their defaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True, help="a file of `user item` lines")
    parser.add_argument("--max-length", type=int, default=200)
    parser.add_argument("--mask", type=float, default=0.2)
    parser.add_argument("--warm-up", type=int, default=3, help="batches before those timed")
    parser.add_argument("--batches", type=int, default=20, help="batches timed")
    parser.add_argument("--users", type=int, default=6000, help="users evaluated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="processes of the data loader")
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=default)
    return parsed(parser)


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; torch uses their threads and a fixed seed, and libraries do not warn."""
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    return given


def read(log: Path) -> "pd.DataFrame":
    """The file as user_id, item_id, timestamp and `left`: how many of the user's rows follow."""
    import pandas as pd

    rows = pd.read_csv(log, sep=" ", names=["user_id", "item_id"])
    by_user = rows.groupby("user_id", sort=False)
    rows["timestamp"] = by_user.cumcount()
    rows["left"] = by_user.cumcount(ascending=False)
    return rows


class Laps:
    """When each batch of a training was done, and its sequences."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._rows: list[int] = []

    def add(self, rows: int) -> None:
        """A batch is done."""
        self._ends.append(time.perf_counter())
        self._rows.append(rows)

    def rate(self, warm_up: int) -> float:
        """Sequences per second after the first `warm_up` batches."""
        seconds = self._ends[-1] - self._ends[warm_up - 1]
        return sum(self._rows[warm_up:]) / seconds


def users_per_second(evaluate: Callable[[int], object], users: int) -> float:
    """The rate of evaluating so many users, after one batch of them that does not count."""
    evaluate(min(users, EVALUATION_BATCH))
    began = time.perf_counter()
    evaluate(users)
    return users / (time.perf_counter() - began)


def peak_memory() -> int:
    """The largest resident size of this process, in bytes.

    Of the kernel's two figures this is the one that the process which started us has no part in.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def report(name: str, package: str, *, train: float, evaluate: float, data: float) -> None:
    """Print the measurement as the last line: sequences/s, users/s, seconds to ready data."""
    found = {
        "name": f"{name} {version(package)}",
        "torch": torch.__version__,
        "memory": peak_memory(),
    }
    print(json.dumps({**found, "train": train, "evaluate": evaluate, "data": data}), flush=True)
