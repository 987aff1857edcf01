"""recctl's SASRec and BERT4Rec beside RecTools', RePlay's and RecBole's on one log: how good.

    python benchmarks/peers/quality.py FOLDER --log ml-1m.txt.gz [--minutes 10] [--threads 2]

FOLDER becomes a copy of this project with the log, split and with the settings that `recctl data
use` chooses. Every model trains on the same rows for at most --minutes with its library's own
documented settings, each in its own environment, and is ranked by recctl. Called again it does
only what is missing. README.md beside this file says which settings these are.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from _environments import CACHE, HERE, PEERS, environments, limited, run
from _quality import RESULT, ROWS, SCORES

from recctl.evaluation.metrics import per_case
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.statistics import interval
from recctl.evaluation.test_set import TestSet
from recctl.layout import Layout
from recctl.sequences.store import Histories
from recctl.sequences.vocabulary import COLD
from tuning import project

OURS = ("sasrec", "bert4rec", "markov", "popularity")
THEIRS = ("sasrec", "bert4rec")
METRICS = ("hr@10", "ndcg@10")
RANKS = "ranks.npy"


@dataclass(frozen=True)
class Scores:
    """Scores that were written by user, as a model: `score` finds the user of each history."""

    scores: NDArray[np.float32]
    """(users, items)"""
    users: NDArray[np.int64]
    """user_index of each case"""
    starts: NDArray[np.int64]
    """Where each case's history begins, ascending."""

    @property
    def n_items(self) -> int:
        return int(self.scores.shape[1])

    def score(self, histories: Histories) -> torch.Tensor:
        cases = np.searchsorted(self.starts, histories.starts)
        return torch.from_numpy(self.scores[self.users[cases]])


def write_rows(test: TestSet) -> None:
    """Each user's history before the test target, by our numbers, without cold items."""
    rows, at = test.cases.histories.positions()
    users = test.cases.users[rows]
    items = test.cases.histories.items[at]
    ends = np.cumsum(test.cases.histories.lengths) - 1
    validation = np.zeros(len(rows), np.int64)
    validation[ends] = test.data.items[test.data.validation[test.cases.users]] != COLD
    places = at - test.cases.histories.starts[rows]
    columns = np.column_stack([users, items, places, validation])
    header = "user_id,item_id,timestamp,validation"
    np.savetxt(test.layout.root / ROWS, columns, "%d", ",", header=header, comments="")


def measure(
    given: argparse.Namespace, test: TestSet, peer: str, python: str, model: str, **variables: str
) -> Path:
    """Train and rank, unless that was done: the folder with RESULT and RANKS.

    Raises RuntimeError with one line when the training failed.
    """
    name = f"{given.minutes:g}-minutes-{given.threads}-threads"
    folder = test.layout.root / name / f"{peer}-{model}"
    if (folder / RANKS).exists():
        return folder
    print(f"{peer}: {model}", flush=True)
    with tempfile.TemporaryDirectory(dir=test.layout.root) as work:
        arguments = {
            "project": test.layout.root,
            "folder": work,
            "model": model,
            "minutes": given.minutes,
            "threads": given.threads,
        }
        words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        run([python, str(HERE / f"{peer}_quality.py"), *words], **variables)
        ranks = ranked(test, np.load(Path(work) / SCORES, mmap_mode="r"))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(work) / RESULT, folder)
        np.save(folder / RANKS, ranks)
    return folder


def ranked(test: TestSet, scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The test targets' ranks by scores of (users, items)."""
    assert scores.shape == (len(test.data.user_ids), test.n_items), scores.shape
    model = Scores(scores, test.cases.users, test.cases.histories.starts)
    return rank_cases(model, test.cases, filter_seen=test.params.filter_seen).full


def cells(test: TestSet, folder: Path) -> list[str]:
    """A row of the table."""
    found: dict[str, Any] = json.loads((folder / RESULT).read_text())
    ranks = np.load(folder / RANKS)
    row = [f"{found['library']}: {found['model']}", f"{found['minutes']:.1f}"]
    epochs, best = found["epochs"], found.get("best_epoch")
    row += [f"{epochs:.1f}" if epochs else "", str(best or ""), found["validation"]]
    for metric in METRICS:
        gains = per_case(metric, ranks, test.n_items)
        rng = np.random.default_rng(test.params.seed)
        mean = interval(gains, test.params.bootstrap_resamples, rng)
        row.append(f"{mean.value:.4f}\n{mean.low:.4f} - {mean.high:.4f}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--log", type=Path, required=True, help="a log as `recctl data use` takes")
    parser.add_argument("--minutes", type=float, default=10, help="of each training, at most")
    parser.add_argument("--threads", type=int, default=2, help="and processor cores")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--cache", type=Path, default=CACHE)
    given = parser.parse_args()
    project(given.folder, str(given.log.resolve()))
    pythons = environments(given.peers, given.cache)
    variables = limited(given.threads)
    test = TestSet.load(Layout(given.folder.resolve()))
    write_rows(test)
    rows = [("recctl", sys.executable, model) for model in OURS]
    rows += [(peer, python, model) for peer, python in pythons.items() for model in THEIRS]
    table = Table(
        title=f"{given.log.name}: {len(test.cases):,} users, {test.n_items:,} items, full ranking, "
        f"{given.minutes:g} minutes at most, {given.threads} threads",
        show_lines=True,
    )
    for title in ("", "CPU minutes", "epochs", "best", "validation", *METRICS):
        table.add_column(title, justify="right" if title else "left")
    for peer, python, model in rows:
        try:
            folder = measure(given, test, peer, python, model, **variables)
        except RuntimeError as error:
            print(f"{peer}: {model} left out: {error}", flush=True)
            continue
        row = cells(test, folder)
        print(" ".join(row).replace("\n", " "), flush=True)
        table.add_row(*row)
    Console(width=max(110, Console().width)).print(table)


if __name__ == "__main__":
    main()
