"""Training and ranking with a large catalogue: seconds a step, users ranked a second, memory.

    python benchmarks/large_catalogue.py [--threads 2] [--items 10000 100000 1000000]

SASRec, d=64, 2 layers, length 50, batch 128, generated histories with Zipf items. Each size and
loss runs in a separate process, so that peak memory is measured for each.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from recctl.evaluation.ranking import rank_cases
from recctl.models import NEURAL
from recctl.sequences.store import Cases, Histories
from recctl.training.loop import Trainer, on_device
from recctl.training.params import TrainParams

LOSSES = ("full", "sampled", "gbce")
USERS, LENGTH, STEPS, RANKED = 4_000, 50, 15, 128


def histories(n_items: int) -> Histories:
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, n_items + 1) ** 0.8
    lengths = rng.integers(5, 60, USERS)
    items = rng.choice(n_items, lengths.sum(), p=share / share.sum()).astype(np.int32)
    ends = np.cumsum(lengths)
    return Histories(items, ends - lengths, ends)


def measure(n_items: int, loss: str, threads: int) -> dict[str, float]:
    """One size and loss, in this process."""
    torch.set_num_threads(threads)
    train = histories(n_items)
    shape = {"max_length": LENGTH, "dropout": 0.2}
    params = TrainParams.model_validate(
        {"model": "sasrec", "loss": loss, "device": "cpu", "batch_size": 128, "sasrec": shape}
    )
    trainer = Trainer(train, n_items, params, torch.device("cpu"))
    plan = trainer.plan(1)
    rows = on_device(plan, trainer.device)
    seconds = []
    for _ in range(STEPS if loss != "full" or n_items <= 10**5 else 2):
        began = time.perf_counter()
        trainer.train_batch(plan, rows)
        seconds.append(time.perf_counter() - began)
    cases = Cases(np.arange(RANKED), train.select(slice(RANKED)), np.zeros(RANKED, np.int32))
    began = time.perf_counter()
    rank_cases(NEURAL["sasrec"](trainer.encoder), cases)
    ranked = RANKED / (time.perf_counter() - began)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"step": statistics.median(seconds), "ranked": ranked, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--items", type=int, nargs="+", default=[10**4, 10**5, 10**6])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        n_items, loss = options.one
        print(json.dumps(measure(int(n_items), loss, options.threads)))
        return
    table = Table(title=f"SASRec, d=64, length {LENGTH}, batch 128, {options.threads} threads")
    for column in ("items", "loss", "s/step", "users ranked/s", "peak RSS"):
        table.add_column(column, justify="right")
    for n_items in options.items:
        for loss in LOSSES:
            command = [sys.executable, __file__, "--threads", str(options.threads)]
            done = subprocess.run(
                [*command, "--one", str(n_items), loss], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            table.add_row(
                f"{n_items:,}", loss, f"{found['step']:.3f}", f"{found['ranked']:,.0f}",
                f"{found['memory']:.2f} GiB",
            )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
