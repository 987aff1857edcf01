"""Training speed of BERT4Rec: sequences per second, peak memory, share of the peak.

    python benchmarks/training.py [--log ml-1m.txt.gz] [--threads 2]
    python benchmarks/training.py --device cuda [--set train.precision=bfloat16]

Without --log a log of MovieLens 1M's shape is generated. A sequence is a user's last 200 items; the
time includes the optimiser, clipping and masking, but not validation. Positions are learned ones
only and no extra samples are drawn, so an epoch is the same as in public implementations. The rate
is sequences over seconds of a whole epoch, the median of several; the peak is that of a large
matrix product of the same precision, measured before and after. Memory is the process's on a CPU,
what torch allocated on a GPU.
"""

import argparse
import gzip
import resource
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recctl.cli.setting import setting
from recctl.config import changed
from recctl.devices import autocast_dtype, pick
from recctl.sequences.store import Histories
from recctl.training.loop import Trainer, on_device
from recctl.training.params import TrainParams

SHAPES = {
    "ml-1m": {"users": 6040, "items": 3416, "mean": 163.0, "max_length": 200, "mask": 0.2},
    "shop": {"users": 40_000, "items": 54_000, "mean": 9.0, "max_length": 50, "mask": 0.6},
}


def generated(users: int, items: int, mean: float) -> Histories:
    """Histories with log-normal lengths (median 60% of the mean) and Zipf items."""
    rng = np.random.default_rng(0)
    lengths = np.maximum(3, rng.lognormal(np.log(0.6 * mean), 1.0, users)).astype(np.int64)
    share = 1 / np.arange(1, items + 1) ** 0.8
    drawn = rng.choice(items, lengths.sum(), p=share / share.sum()).astype(np.int32)
    ends = np.cumsum(lengths)
    return Histories(drawn, ends - lengths, ends)


def read(path: Path) -> Histories:
    """A benchmark file of `user item` lines, all but each user's last two items."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        pairs: NDArray[np.int64] = np.loadtxt(file, dtype=np.int64)
    _, counts = np.unique(pairs[:, 0], return_counts=True)
    _, item, popularity = np.unique(pairs[:, 1], return_inverse=True, return_counts=True)
    by_popularity = np.argsort(np.argsort(-popularity, kind="stable"))
    ends = np.cumsum(counts)
    return Histories(by_popularity[item].astype(np.int32), ends - counts, ends - 2)


def log_of(path: Path | None, shape: str) -> Histories:
    """The file's histories, or generated ones of the shape."""
    of = SHAPES[shape]
    return read(path) if path else generated(int(of["users"]), int(of["items"]), of["mean"])


def now(device: torch.device) -> float:
    """The time when all work given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_gflops(device: torch.device, dtype: torch.dtype | None) -> float:
    """The rate of a large matrix product, the best of several, in GFLOP/s."""
    size = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(12):
        began = now(device)
        a @ b
        best = max(best, 2 * size**3 / (now(device) - began) / 1e9)
    return best


def gibibytes(device: torch.device) -> float:
    """The most memory there was."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def flops(trainer: Trainer, lengths: NDArray[np.int64], masked: NDArray[np.int64]) -> float:
    """Multiply-adds of matrix products that one epoch needs, forward and backward, as FLOP.

    Per layer and position: 12 d^2 of projections and 4 L d of attention; in the last layer all but
    the keys and values (2 d^2) only at masked positions; then the head over the catalogue.
    Backward costs twice the forward.
    """
    shape, n_items = trainer.params.bert4rec, trainer.encoder.n_items
    d, layers = shape.hidden_size, shape.layers
    tokens, pairs, hidden = lengths.sum(), (lengths**2).sum(), masked.sum()
    inner = (layers - 1) * (12 * d * d * tokens + 2 * d * pairs)
    last = 2 * d * d * tokens + 10 * d * d * hidden + 2 * d * (lengths * masked).sum()
    head = d * d * hidden + d * n_items * hidden
    return float(6 * (inner + last + head))


def train_settings(texts: Iterable[str]) -> dict[str, Any]:
    """What `--set train.KEY=VALUE` says, by the keys of the train section."""
    return {path.removeprefix("train."): value for path, value in map(setting, texts)}


def trainer_of(name: str, train: Histories, settings: dict[str, Any] | None = None) -> Trainer:
    """A training of a named shape, warmed up; settings of the train section on top."""
    shape = SHAPES[name]
    network = {
        "max_length": int(shape["max_length"]),
        "mask_probability": shape["mask"],
        "dropout": 0.2,
        "last_item_share": 0.0,
        "rotary": False,
    }
    asked = changed({"batch_size": 128, "device": "cpu", "bert4rec": network}, settings or {})
    params = TrainParams.model_validate(asked | {"model": "bert4rec"})
    n_items = max(int(shape["items"]), int(train.items.max()) + 1)
    trainer = Trainer(train, n_items, params, pick(params.device))
    warm = trainer.plan(1)
    for _ in range(min(3, len(warm))):
        trainer.train_batch(warm, on_device(warm, trainer.device))
    return trainer


def measure(trainer: Trainer, repeats: int) -> tuple[list[float], list[float], float, float]:
    """Train for some epochs: sequences/s and GFLOP/s of each, the peak, and GiB of memory."""
    device, dtype = trainer.device, autocast_dtype(trainer.params.precision)
    before, rates, work = peak_gflops(device, dtype), [], []
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    for epoch in range(repeats):
        plan = trainer.plan(epoch + 1)
        rows = on_device(plan, device)
        trainer.position.batch = 0
        began = now(device)
        while trainer.position.batch < len(plan):
            trainer.train_batch(plan, rows)
        spent = now(device) - began
        rates.append(len(plan.lengths) / spent)
        work.append(flops(trainer, plan.lengths, plan.masked) / spent / 1e9)
    memory = gibibytes(device)
    return rates, work, max(before, peak_gflops(device, dtype)), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, such as ml-1m")
    parser.add_argument("--shape", choices=list(SHAPES), default="ml-1m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="epochs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--set", action="append", default=[], help="train.KEY=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train = log_of(options.log, options.shape)
    settings = train_settings(options.set) | {"device": options.device}
    trainer = trainer_of(options.shape, train, settings)
    rates, work, peak, memory = measure(trainer, options.repeats)
    shape, device = trainer.params.bert4rec, trainer.device
    with_threads = f", {options.threads} threads" if device.type == "cpu" else ""
    table = Table(
        title=f"BERT4Rec training, d={shape.hidden_size}, {shape.layers} layers, batch "
        f"{trainer.params.batch_size}, {device.type}{with_threads} {' '.join(options.set)}"
    )
    for column in ("shape", "users", "items", "sequences/s", "range", "GFLOP/s", "peak memory"):
        table.add_column(column, justify="right")
    table.add_row(
        options.shape, f"{len(train):,}", f"{trainer.encoder.n_items:,}",
        f"{statistics.median(rates):,.0f}", f"{min(rates):,.0f} - {max(rates):,.0f}",
        f"{statistics.median(work) / peak:.1%} of {peak:,.0f}", f"{memory:.2f} GiB",
    )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
