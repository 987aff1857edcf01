"""How often the gate is wrong: promotions of challengers whose true quality is known.

    python benchmarks/gate_calibration.py [--pairs 1000] [--users 1800 6000] [--retrains N]

Simulated: a user's target has a difficulty that both models share, and each model has errors
independent of the other's; log rank is normal, as it is for BERT4Rec on the starter data (HR@1
.105, HR@5 .310, HR@10 .431, NDCG@10 .248). The shared part is chosen so that paired differences
vary as those of two seeds of one model. A challenger's mean log rank is shifted until its true
NDCG@10 differs by the given amount.

Equal challengers must be promoted at most 5% of the time, the primary gate's nominal level; those
worse by the margin almost never. The rest is power: the differences that a test set of this size
can show.

--retrains N trains the project's own model N times on the starter data with other seeds, in a
scratch folder, and judges every ordered pair: challengers that differ by chance only. Two such
models are not quite equal: one seed may give a truly better model, and the gate, which judges
models and not recipes, may find that. Pairs share trainings, so the interval is too narrow.
"""

import argparse
import itertools
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from scipy.optimize import brentq
from scipy.special import ndtr

from recctl.datasets import starter
from recctl.evaluation import metrics, statistics
from recctl.evaluation.slices import Slice
from recctl.evaluation.slices import slices as evaluation_slices
from recctl.layout import Layout
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Conduct, Evidence, Scored, Serving, Training
from recctl.promotion.judge.policy import (
    Guardrails,
    Leak,
    Primary,
    PromotionParams,
    Ratchet,
    Refit,
    Slices,
)
from recctl.sequences.store import SequenceData

CATALOGUE = 2000
SPREAD = 2.14
"""Standard deviation of log rank."""
TYPICAL = 2.68
"""Mean log rank of the champion."""
SHARED = 0.8
"""Correlation of two models' log ranks over users: what of them is the target's difficulty."""
WEAK = {"popularity": 5.9, "markov": 3.6, "item-knn": 4.4}
"""Mean log rank of the baselines."""


@dataclass(frozen=True)
class Truth:
    """What a simulated challenger truly is."""

    name: str
    gain: float
    """Its true NDCG@10 minus the champion's."""


TRUTHS = [
    Truth("worse by .02", -0.02),
    Truth("worse by .005", -0.005),
    Truth("equal", 0.0),
    Truth("better by .01", 0.01),
    Truth("better by .02", 0.02),
    Truth("better by .05", 0.05),
]


def true_mean(metric: str, typical: float) -> float:
    """The expectation of a metric where log rank is normal around `typical`."""
    ranks = np.arange(1, CATALOGUE + 2)
    below = ndtr((np.log(ranks) - typical) / SPREAD)
    chances = np.diff(below, prepend=0.0)
    return float(chances @ metrics.per_case(metric, ranks, CATALOGUE))


def typical_for(gain: float) -> float:
    """The mean log rank at which the true NDCG@10 is the champion's plus `gain`."""
    aim = true_mean("ndcg@10", TYPICAL) + gain
    return float(brentq(lambda typical: true_mean("ndcg@10", typical) - aim, -5, 10))


def ranks(
    typical: float, difficulty: NDArray[np.float64], rng: np.random.Generator, shared: float
) -> NDArray[np.int64]:
    """One model's ranks, given how hard each user's target is; (users,)."""
    own = rng.standard_normal(len(difficulty))
    logs = typical + SPREAD * (math.sqrt(shared) * difficulty + math.sqrt(1 - shared) * own)
    return np.minimum(np.ceil(np.exp(np.minimum(logs, 20.0))), CATALOGUE + 1).astype(np.int64)


def simulated(
    users: int,
    typical: float,
    rng: np.random.Generator,
    shared: float = SHARED,
    *,
    champion: float = TYPICAL,
    best: float | None = None,
    days: float = 1.0,
) -> Evidence:
    """Evidence of a challenger around `typical`, a champion, baselines, slices and conduct.

    `best`: of the best version ever promoted, None where it is the champion.
    """
    difficulty = rng.standard_normal(users)
    index = np.arange(users)

    def scored(mean: float, in_common: float) -> Scored:
        return Scored("simulated", index, ranks(mean, difficulty, rng, in_common))

    conduct = Conduct(0.5, 0.8, 5.0, 1_000_000)
    clean = np.zeros(users, np.bool_)
    return Evidence(
        catalogue=CATALOGUE,
        fingerprint="simulated",
        users=index,
        challenger=scored(typical, shared),
        champion=scored(champion, shared),
        best=None if best is None else scored(best, shared),
        baselines={name: scored(mean, shared / 2) for name, mean in WEAK.items()},
        slices=slices(difficulty, rng),
        conduct={"challenger": conduct, "champion": conduct},
        serving=Serving(requests=26),
        overlap=0.5,
        training=Training(epochs=40, best_epoch=30, best_epoch_is_cap=False, finite=True),
        leaks={"challenger": clean, "champion": clean, "best": clean},
        days=days,
    )


def slices(difficulty: NDArray[np.float64], rng: np.random.Generator) -> list[Slice]:
    """Thirds by history length (by chance), thirds by popularity (by difficulty), new and all."""
    users = len(difficulty)
    length = rng.integers(0, 3, users)
    blurred = difficulty + rng.standard_normal(users)
    part = np.searchsorted(np.quantile(blurred, [1 / 3, 2 / 3]), blurred)
    every = [
        *[("history length", name, length == i) for i, name in enumerate(("short", "mid", "long"))],
        *[("target popularity", name, part == i) for i, name in enumerate(("head", "mid", "tail"))],
        ("users", "newest", rng.random(users) < 0.15),
        ("cold targets", "all", np.ones(users, np.bool_)),
    ]
    return [Slice(name, group, "simulated", members) for name, group, members in every]


def primary_alone(resamples: int, seed: int) -> PromotionParams:
    """The default policy's primary gate and nothing else."""
    return PromotionParams(resamples=resamples, seed=seed, primary=Primary())


def whole_policy(resamples: int, seed: int) -> PromotionParams:
    """The policy of params.yaml, every gate on; a decision a day."""
    return PromotionParams(
        resamples=resamples,
        seed=seed,
        primary=Primary(),
        baselines=["popularity", "markov", "item-knn"],
        slices=Slices(),
        guardrails=Guardrails(
            coverage_loss=0.25,
            popularity_bias_rise=0.1,
            minimum_overlap=0.1,
            latency_ratio=2.0,
            size_ratio=2.0,
        ),
        suspicious_gain=0.5,
        ratchet=Ratchet(),
        unreasoned_per_year=0.5,
        serving=True,
        refit=Refit(),
        convergence=True,
        leak=Leak(),
    )


@dataclass
class Count:
    """Promotions among so many challengers."""

    one_is_better: int = 0
    """The primary gate without its margins: one metric is better, whatever the other."""
    primary: int = 0
    whole: int = 0
    """The primary gate and every other."""

    def add(self, evidence: Evidence, resamples: int, seed: int) -> None:
        """Judge one challenger; what the primary gate rejects, the whole policy need not see."""
        found = decide(evidence, primary_alone(resamples, seed))
        rows = {row.name: row.outcome for row in found.gates if row.gate == "primary"}
        self.one_is_better += rows["better in one"] == "pass"
        if found.verdict == "promoted":
            self.primary += 1
            self.whole += decide(evidence, whole_policy(resamples, seed)).verdict == "promoted"


def promotions(
    users: int, gain: float, pairs: int, resamples: int = 1000, shared: float = SHARED
) -> Count:
    """How many of so many simulated challengers are promoted; the same users for every gain."""
    typical, count = typical_for(gain), Count()
    for i in range(pairs):
        rng = np.random.default_rng([users, i])
        count.add(simulated(users, typical, rng, shared), resamples, seed=i)
    return count


def wilson(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927)."""
    z, share = 1.959964, count / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)


def share_said(count: int, total: int) -> str:
    """A share with its interval, in per cent."""
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} [{100 * low:.1f}-{100 * high:.1f}]"


def deviation(shared: float) -> dict[str, float]:
    """Standard deviation of paired differences that the simulation has."""
    rng = np.random.default_rng(0)
    difficulty = rng.standard_normal(200_000)
    new, old = (ranks(TYPICAL, difficulty, rng, shared) for _ in range(2))
    return deviations(new, old)


def deviations(new: NDArray[np.int64], old: NDArray[np.int64]) -> dict[str, float]:
    """Standard deviation of the paired differences of two rank lists."""
    found = {}
    for metric in ("ndcg@10", "hr@10"):
        one, other = (metrics.per_case(metric, side, CATALOGUE) for side in (new, old))
        found[metric] = statistics.counted(one - other).deviation
    return found


def table_of(title: str, *first: str) -> Table:
    """An empty table of promotions."""
    table = Table(title=f"{title}: promoted, % [Wilson 95%]")
    for column in (*first, "one is better", "primary gate", "whole policy"):
        table.add_column(column, justify="right", no_wrap=True)
    return table


def cells(count: Count, total: int) -> list[str]:
    """The three shares of a row."""
    return [share_said(one, total) for one in (count.one_is_better, count.primary, count.whole)]


def simulate(given: argparse.Namespace, console: Console) -> None:
    """Print the table of simulated challengers."""
    spread = ", ".join(f"{name} {value:.3f}" for name, value in deviation(given.shared).items())
    began = time.perf_counter()
    table = table_of(f"{given.pairs:,} simulated pairs a row", "users", "NDCG@10")
    for users in given.users:
        for truth in TRUTHS:
            count = promotions(users, truth.gain, given.pairs, given.resamples, given.shared)
            table.add_row(f"{users:,}", truth.name, *cells(count, given.pairs))
        table.add_section()
    console.print(table)
    console.print(
        f"sd of paired differences: {spread}; {given.resamples:,} resamples; "
        f"{time.perf_counter() - began:.0f} s",
        highlight=False,
    )


def retrain(given: argparse.Namespace, console: Console) -> None:
    """Train with other seeds, judge every ordered pair, print the table."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        layout = starter_project(Path(scratch), given.max_epochs)
        trained = []
        for seed in range(1, given.retrains + 1):
            trained.append(one_training(layout, seed))
            console.print(f"seed {seed}: {trained[-1].said}", highlight=False)
        data = SequenceData.load(layout.sequences)
        counts = np.array(data.vocabulary.counts, np.int64)
        groups = evaluation_slices(data.cases("test"), counts)
    count = Count()
    pairs = list(itertools.permutations(trained, 2))
    for i, (challenger, champion) in enumerate(pairs):
        count.add(retrained(challenger, champion, len(counts), groups), given.resamples, seed=i)
    users = len(trained[0].ranks["model"])
    title = f"{given.retrains} trainings of one model, {len(pairs)} ordered pairs"
    table = table_of(title, "users", "challenger")
    table.add_row(f"{users:,}", "another seed", *cells(count, len(pairs)))
    console.print(table)
    spreads = [deviations(a.ranks["model"], b.ranks["model"]) for a, b in pairs]
    mean = {name: float(np.mean([one[name] for one in spreads])) for name in spreads[0]}
    console.print(
        f"sd of paired differences: {', '.join(f'{k} {v:.3f}' for k, v in mean.items())}; "
        f"{time.perf_counter() - began:.0f} s",
        highlight=False,
    )


@dataclass(frozen=True)
class Trained:
    """One training of the starter data, evaluated."""

    fingerprint: str
    ranks: dict[str, NDArray[np.int64]]
    """By `model` and the baselines."""
    training: Training

    @property
    def said(self) -> str:
        means = metrics.means(["ndcg@10", "hr@10"], self.ranks["model"], CATALOGUE)
        figures = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
        return f"{figures}, best epoch {self.training.best_epoch} of {self.training.epochs}"


def starter_project(folder: Path, max_epochs: int | None) -> Layout:
    """A project of the starter data, split; the repository's own params."""
    root = Path(__file__).resolve().parents[1]
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(root / name, folder / name)
    layout = Layout(folder)
    starter.write(layout.data)
    if max_epochs is not None:
        set_train(layout, "max_epochs", max_epochs)
    stage(layout, "ingest")
    stage(layout, "sequence-split")
    return layout


def set_train(layout: Layout, key: str, value: int) -> None:
    """Change one setting of params.yaml's train section."""
    yaml = YAML()
    document = yaml.load(layout.params)
    document["train"][key] = value
    yaml.dump(document, layout.params)


def stage(layout: Layout, name: str) -> None:
    """Run one stage of the pipeline as dvc would."""
    command = [str(Path(sys.executable).with_name("recctl")), "stage", name]
    done = subprocess.run(command, cwd=layout.root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")


def one_training(layout: Layout, seed: int) -> Trained:
    """Train with this seed and rank the test users."""
    set_train(layout, "seed", seed)
    stage(layout, "train")
    stage(layout, "evaluate")
    table = pq.read_table(layout.evaluation / "ranks.parquet").to_pandas()
    full = table[table["protocol"] == "full"]
    ended = json.loads((layout.training / "metrics.json").read_text())
    return Trained(
        json.loads((layout.evaluation / "metrics.json").read_text())["fingerprint"],
        {str(name): rows["rank"].to_numpy(np.int64) for name, rows in full.groupby("model")},
        Training(
            epochs=int(ended["epochs"]),
            best_epoch=int(ended["best_epoch"]),
            best_epoch_is_cap=bool(ended["best_epoch_is_cap"]),
            finite=True,
        ),
    )


def retrained(
    challenger: Trained, champion: Trained, catalogue: int, groups: list[Slice]
) -> Evidence:
    """Evidence of one seed's model against another's; the same conduct for both."""
    index = np.arange(len(challenger.ranks["model"]))
    conduct = Conduct(0.5, 0.8, 5.0, 1_000_000)
    clean = np.zeros(len(index), np.bool_)
    return Evidence(
        catalogue=catalogue,
        fingerprint=challenger.fingerprint,
        users=index,
        challenger=Scored(challenger.fingerprint, index, challenger.ranks["model"]),
        champion=Scored(champion.fingerprint, index, champion.ranks["model"]),
        baselines={
            name: Scored(challenger.fingerprint, index, challenger.ranks[name]) for name in WEAK
        },
        slices=groups,
        conduct={"challenger": conduct, "champion": conduct},
        serving=Serving(requests=26),
        overlap=0.5,
        training=challenger.training,
        leaks={"challenger": clean, "champion": clean},
        days=1.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--users", type=int, nargs="+", default=[1800, 6000])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--shared", type=float, default=SHARED)
    parser.add_argument("--retrains", type=int, default=0, help="train this often; minutes each")
    parser.add_argument("--max-epochs", type=int, help="epochs of those trainings")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if given.pairs:
        simulate(given, console)
    if given.retrains > 1:
        retrain(given, console)


if __name__ == "__main__":
    main()
