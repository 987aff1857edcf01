"""Evaluation speed: users per second of full ranking with seen items filtered.

    python benchmarks/evaluation.py [--log ml-1m.txt.gz] [--sequences FOLDER --model FOLDER]

Without --log a log of MovieLens 1M's shape is generated, and without --model a BERT4Rec with random
weights (d=64, 2 layers, length 200, learned positions alone) is ranked: its scores do not
affect the time. --model needs the --sequences it was trained on (artifacts/sequences). Rates are
medians over repeats.
"""

import argparse
import resource
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from recctl.devices import pick, prepare
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.protocols import sampled_negatives
from recctl.evaluation.ranking import rank_cases
from recctl.models import load_model
from recctl.models.base import Recommender
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.models.item_knn import ItemKNN
from recctl.models.markov import Markov
from recctl.models.popularity import Popularity
from recctl.sequences.store import Cases, Histories, SequenceData
from training import SHAPES, log_of


def cases_of(whole: Histories) -> Cases:
    """Leave-one-out cases: the last item of every history is its target."""
    last = np.asarray(whole.items[whole.ends - 1], np.int32)
    histories = Histories(whole.items, whole.starts, whole.ends - 1)
    return Cases(np.arange(len(whole)), histories, last)


def random_bert4rec(n_items: int, max_length: int, device: torch.device) -> Bert4Rec:
    """BERT4Rec as it is before training."""
    encoder = Encoder(n_items, max_length, 64, 2, 2, dropout=0.0, attention_dropout=0.0)
    encoder.initialise(torch.Generator().manual_seed(0))
    return Bert4Rec(encoder.to(device).eval().requires_grad_(False))


def measure(
    name: str, model: Recommender, cases: Cases, repeats: int, table: Table, **asked: object
) -> None:
    """Rank the cases some times and add a row to the table."""
    rank: Callable[..., object] = rank_cases
    seconds = []
    for _ in range(repeats):
        ranks = rank(model, cases, **asked)
        seconds.append(ranks.seconds)  # type: ignore[attr-defined]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rates = [len(cases) / one for one in seconds]
    table.add_row(
        name, f"{len(cases):,}", f"{model.n_items:,}", f"{statistics.median(rates):,.0f}",
        f"{min(rates):,.0f} - {max(rates):,.0f}", f"{memory:.2f} GiB",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, help="a file of `user item` lines, such as ml-1m")
    parser.add_argument("--sequences", type=Path, help="artifacts/sequences of a project")
    parser.add_argument("--model", type=Path, help="artifacts/model of the same project")
    parser.add_argument("--shape", choices=list(SHAPES), default="ml-1m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.model and not options.sequences:
        parser.error("--model needs --sequences")
    torch.set_num_threads(options.threads)
    device = pick()
    prepare(device)
    shape = SHAPES[options.shape]
    if options.sequences:
        data = SequenceData.load(options.sequences)
        train, cases, n_items = data.train(), data.cases("test"), data.vocabulary.size
    else:
        train = log_of(options.log, options.shape)
        cases = cases_of(train)
        n_items = max(int(shape["items"]), int(train.items.max()) + 1)
    model = (
        load_model(options.model, device)
        if options.model
        else random_bert4rec(n_items, int(shape["max_length"]), device)
    )
    counts = np.bincount(train.flat()[1], minlength=n_items)
    negatives = sampled_negatives(cases, np.maximum(counts, 1), EvaluateParams())
    where = f"{options.threads} threads" if device.type == "cpu" else device.type
    table = Table(title=f"Full ranking, seen items filtered, {where}", title_justify="left")
    for column in ("model", "users", "items", "users/s", "range", "peak RSS"):
        table.add_column(column, justify="left" if column == "model" else "right")
    measure(model.kind, model, cases, options.repeats, table)
    measure(
        f"{model.kind}, all protocols, top 10",
        model, cases, options.repeats, table, negatives=negatives, top=10,
    )  # fmt: skip
    for baseline in (Popularity, Markov, ItemKNN):
        fitted = baseline.fit(train, n_items)
        measure(baseline.kind, fitted, cases, options.repeats, table)
    Console().print(table)


if __name__ == "__main__":
    main()
