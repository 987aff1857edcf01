"""A GPU: training with steps as CUDA graphs, with the same steps launched one by one, and ranking.

    python benchmarks/gpu.py [--log ml-1m.txt.gz] [--to 0.15] [--batch 128]
    python benchmarks/gpu.py --device cpu --users 300 --threads 1     # does it run?

Without --log a log of MovieLens 1M's shape is generated in which three items of ten follow from the
one before. The last item of each user is ranked among all, seen items left out. Rates are medians
of epochs; `launches` are what the host sends to the device in a step (kernels, copies, graphs), on
a CPU torch's operators. The time to --to is of training alone; the first epoch of graphs holds
their capture. Variants alternate within one process.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from evaluation import cases_of
from recctl.devices import pick
from recctl.evaluation.metrics import means
from recctl.evaluation.ranking import rank_cases
from recctl.models import NEURAL
from recctl.sequences.store import Cases, Histories
from recctl.training.loop import Trainer, on_device
from recctl.training.params import TrainParams
from training import SHAPES, generated, now, read

SENT = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cudaMemcpy", "cudaMemset")
"""Calls of CUDA that give the device work, by the beginnings of their names."""


def followed(log: Histories, n_items: int) -> Histories:
    """The log with 30% of the items replaced by the one that follows their predecessor."""
    rng = np.random.default_rng(1)
    following, items = rng.permutation(n_items), log.items.tolist()
    for place in np.flatnonzero(rng.random(len(items)) < 0.3)[1:].tolist():
        items[place] = int(following[items[place - 1]])
    return Histories(np.array(items, np.int32), log.starts, log.ends)


def trainer_of(model: str, log: Histories, graphed: bool, options: argparse.Namespace) -> Trainer:
    """A training of the log without each history's last item."""
    shape = SHAPES["ml-1m"]
    settings: dict[str, Any] = {
        "model": model, "device": options.device, "batch_size": options.batch, "filter_seen": True,
        "cuda_graphs": graphed,
        model: {"max_length": int(shape["max_length"]), "hidden_size": 64, "dropout": 0.2},
    }  # fmt: skip
    params = TrainParams.model_validate(settings)
    train = Histories(log.items, log.starts, log.ends - 1)
    n_items = max(int(shape["items"]), int(log.items.max()) + 1)
    return Trainer(train, n_items, params, pick(options.device))


def epoch(trainer: Trainer, steps: int | None = None) -> float:
    """Train the next epoch, or some steps of it; seconds."""
    plan = trainer.plan(trainer.position.epoch)
    rows = on_device(plan, trainer.device)
    trainer.position.batch = 0
    began = now(trainer.device)
    for _ in range(min(steps or len(plan), len(plan))):
        trainer.train_batch(plan, rows)
    spent: float = now(trainer.device) - began
    trainer.position.epoch += 1
    return spent


def launches(trainer: Trainer, steps: int = 10) -> float:
    """What the host sends to the device in a step."""
    on_gpu = trainer.device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    before = trainer.position.step
    with profile(activities=kinds) as profiled:
        epoch(trainer, steps)
    names = SENT if on_gpu else ("aten::",)
    found: int = sum(one.count for one in profiled.key_averages() if one.key.startswith(names))
    return found / (trainer.position.step - before)


def seconds_to(target: float, trainer: Trainer, cases: Cases, limit: float) -> str:
    """Seconds of training until a validation reaches the target, and the epochs."""
    spent, ndcg, began = 0.0, 0.0, time.perf_counter()
    while ndcg < target and time.perf_counter() - began < limit:
        spent += epoch(trainer)
        ranks = rank_cases(NEURAL[trainer.params.model](trainer.judged), cases).full
        ndcg = means(["ndcg@10"], ranks, trainer.encoder.n_items)["ndcg@10"]
    reached = f"{spent:.1f} s" if ndcg >= target else f"not in {spent:.0f} s ({ndcg:.3f})"
    return f"{reached}, {trainer.position.epoch - 1} epochs"


def measure(model: str, log: Histories, options: argparse.Namespace, table: Table) -> None:
    """A row for the model with graphs, on a GPU, and one without."""
    cases = cases_of(log)
    epoch(trainer_of(model, log, False, options), 3)  # loads the device's libraries
    kinds = {**({"graphs": True} if options.device == "cuda" else {}), "launched": False}
    trainers = {name: trainer_of(model, log, kind, options) for name, kind in kinds.items()}
    reached = {
        name: seconds_to(options.to, one, cases, options.seconds) for name, one in trainers.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in trainers}
    for _ in range(options.repeats):
        for name, one in trainers.items():
            rates[name].append(len(one.plan(one.position.epoch).lengths) / epoch(one))
    for name, one in trainers.items():
        ranked = NEURAL[model](one.judged)
        users = [len(cases) / rank_cases(ranked, cases).seconds for _ in range(options.repeats)]
        table.add_row(
            model, name, f"{statistics.median(rates[name]):,.0f}",
            f"{min(rates[name]):,.0f} - {max(rates[name]):,.0f}", f"{launches(one):,.0f}",
            reached[name], f"{statistics.median(users):,.0f}",
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, such as ml-1m")
    parser.add_argument("--users", type=int, default=6040, help="of the generated log")
    parser.add_argument("--to", type=float, default=0.15, help="NDCG@10")
    parser.add_argument("--seconds", type=float, default=30.0, help="at most, to reach it")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu shows whether this runs")
    torch.set_num_threads(options.threads)
    shape = SHAPES["ml-1m"]
    if options.log:
        log = read(options.log)
        log = Histories(log.items, log.starts, log.ends + 1)  # the last item but one is ranked
    else:
        n_items = int(shape["items"])
        log = followed(generated(options.users, n_items, shape["mean"]), n_items)
    name = options.device
    if name == "cuda":
        name = f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    table = Table(title=f"d=64, 2 layers, batch {options.batch}, {len(log):,} users, {name}")
    for column in ("model", "steps", "sequences/s", "range", "launches", f"to {options.to:g}"):
        table.add_column(column, justify="right")
    table.add_column("ranked users/s", justify="right")
    for model in ("bert4rec", "sasrec"):
        measure(model, log, options, table)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
