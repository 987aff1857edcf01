"""Where the time of a training step, and of ranking, goes: shares by kind of operation.

    python benchmarks/where_time_goes.py [--log ml-1m.txt.gz] [--shape ml-1m] [--threads 2]

BERT4Rec as `benchmarks/training.py` trains it, some batches under torch's profiler, and the same
network ranking full catalogues. Times are of the operations themselves, without what they call. The
profiler sees one thread's work: here all threads share every operation, in ranking too.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from evaluation import cases_of
from recctl.evaluation import ranking
from recctl.evaluation.ranking import rank_cases
from recctl.models.bert4rec import Bert4Rec
from recctl.sequences.store import Cases
from recctl.training.loop import Trainer, on_device
from training import SHAPES, log_of, trainer_of

KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "linear"),
    "attention": ("attention",),
    "softmax, log-sum-exp, maxima": ("softmax", "logsumexp", "max", "amax", "exp", "log"),
    "GELU": ("gelu",),
    "layer norm": ("layer_norm",),
    "random numbers and comparisons": ("random", "ge", "rand", "lt", "topk", "sort", "argsort"),
    "optimiser": ("adam", "foreach", "lerp", "norm", "addcdiv", "addcmul", "clip"),
    "embeddings, gathers, scatters": ("index", "gather", "scatter", "embedding", "where"),
    "sums, products, copies": ("add", "mul", "sub", "div", "sum", "copy", "fill", "zero", "to"),
}
REST = "the rest"


def kind(name: str) -> str:
    """The first kind whose words the operation's name holds: whole, or longer ones as a part."""
    bare = name.removeprefix("aten::").removesuffix("_")
    for found, words in KINDS.items():
        for word in words:
            if bare == word or (len(word) > 3 and word in bare):
                return found
    return REST


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Seconds by kind."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    seconds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        seconds[kind(event.key)] += event.self_cpu_time_total / 1e6
    return seconds


def train(trainer: Trainer, batches: int) -> None:
    plan = trainer.plan(1)
    rows = on_device(plan, trainer.device)
    trainer.position.batch = 0
    for _ in range(min(batches, len(plan))):
        trainer.train_batch(plan, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, such as ml-1m")
    parser.add_argument("--shape", choices=list(SHAPES), default="ml-1m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, default=24, help="batches of training")
    parser.add_argument("--users", type=int, default=3000, help="users ranked")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    ranking._WORKERS = 1
    log = log_of(given.log, given.shape)
    trainer = trainer_of(given.shape, log)
    whole = cases_of(log)
    some = slice(given.users)
    cases = Cases(whole.users[some], whole.histories.select(some), whole.targets[some])
    model = Bert4Rec(trainer.encoder)
    rank_cases(model, cases)
    found = {
        "training": shares(lambda: train(trainer, given.batches)),
        "ranking": shares(lambda: rank_cases(model, cases)),
    }
    table = Table(title=f"{given.shape}, {given.threads} threads: share of the time, seconds")
    table.add_column("operations")
    for name in found:
        table.add_column(name, justify="right")
    totals = {name: sum(one.values()) for name, one in found.items()}
    for row in [*KINDS, REST]:
        cells = [f"{one[row] / totals[name]:.0%}  {one[row]:.2f}" for name, one in found.items()]
        table.add_row(row, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
