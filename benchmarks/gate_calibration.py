"""How often the gate is wrong: promotions of challengers whose true quality is known.

    python benchmarks/gate_calibration.py [--pairs 1000] [--users 1800 6000] [--retrains N]

Simulated: a user's target has a difficulty that both models share, and each model errs on its own;
log rank is normal, as it is for BERT4Rec on the starter data (HR@1 .105, HR@5 .310, HR@10 .431,
NDCG@10 .248). How much is shared is set so that paired differences vary as those of two seeds of
one model. A challenger's mean log rank is shifted until its true NDCG@10 differs by what is asked.

Equal challengers must be promoted at most 5% of the time, the primary gate's nominal level; those
worse by the margin almost never. The rest is power: what the test set's size lets the gate see.

--retrains N trains the project's own model N times on the starter data with other seeds, in a
scratch folder, and judges every ordered pair: challengers that are equal in all but chance.
"""

import argparse
import itertools
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import brentq
from scipy.special import ndtr

from recctl.evaluation import metrics, statistics
from recctl.evaluation.slices import Slice
from recctl.promotion.decision import decide
from recctl.promotion.evidence import Conduct, Evidence, Scored, Training
from recctl.promotion.params import (
    Guardrails,
    Leak,
    Primary,
    PromotionParams,
    Ratchet,
    Slices,
)

CATALOGUE = 2000
SPREAD = 2.14
"""Standard deviation of log rank."""
TYPICAL = 2.68
"""Mean log rank of the champion."""
SHARED = 0.8
"""Correlation of two models' log ranks over users: what of them is the target's difficulty."""
WEAK = {"popularity": 5.9, "markov": 3.6}
"""Mean log rank of the baselines."""


@dataclass(frozen=True)
class Truth:
    """What a simulated challenger truly is."""

    name: str
    gain: float
    """Its true NDCG@10 minus the champion's."""


TRUTHS = [
    Truth("worse by .02", -0.02),
    Truth("worse by the margin (.005)", -0.005),
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
    users: int, typical: float, rng: np.random.Generator, shared: float = SHARED
) -> Evidence:
    """Evidence of a challenger around `typical`, a champion, baselines, slices and conduct."""
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
        champion=scored(TYPICAL, shared),
        baselines={name: scored(mean, shared / 2) for name, mean in WEAK.items()},
        slices=slices(difficulty, rng),
        conduct={"challenger": conduct, "champion": conduct},
        overlap=0.5,
        training=Training(epochs=40, best_epoch=30, best_epoch_is_cap=False, finite=True),
        leaks={"challenger": clean, "champion": clean},
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


def policies(resamples: int) -> dict[str, PromotionParams]:
    """Whole, its primary gate alone, and that without its margins: only "one is better"."""
    whole = PromotionParams(
        resamples=resamples,
        primary=Primary(),
        baselines=["popularity", "markov"],
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
        convergence=True,
        leak=Leak(),
    )
    return {
        "one is better": PromotionParams(resamples=resamples, primary=Primary(margin=0.99)),
        "primary gate": PromotionParams(resamples=resamples, primary=Primary()),
        "whole policy": whole,
    }


def promotions(
    users: int, gain: float, policy: PromotionParams, pairs: int, seed: int, shared: float = SHARED
) -> int:
    """How many of so many simulated challengers are promoted."""
    typical = typical_for(gain)
    return sum(
        decide(simulated(users, typical, rng, shared), replace_seed(policy, i)).verdict
        == "promoted"
        for i, rng in enumerate(generators(seed, pairs))
    )


def generators(seed: int, pairs: int) -> Iterator[np.random.Generator]:
    """One generator per pair: the same pairs for every policy and truth."""
    return (np.random.default_rng([seed, i]) for i in range(pairs))


def replace_seed(policy: PromotionParams, seed: int) -> PromotionParams:
    """The policy with another bootstrap: chance in the gate is part of what is measured."""
    return policy.model_copy(update={"seed": seed})


def wilson(count: int, total: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927)."""
    z, share = 1.959964, count / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - half) / (1 + z * z / total), (centre + half) / (1 + z * z / total)


def share_said(count: int, total: int) -> str:
    """A share with its interval, in per cent."""
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


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


def simulate(given: argparse.Namespace, console: Console) -> None:
    """Print the table of simulated challengers."""
    spread = ", ".join(f"{name} {value:.3f}" for name, value in deviation(given.shared).items())
    began = time.perf_counter()
    table = Table(title=f"promotions in % [Wilson 95%], {given.pairs:,} simulated pairs a cell")
    for column in ("users", "challenger's NDCG@10", *policies(1000)):
        table.add_column(column, justify="right", no_wrap=True)
    for users in given.users:
        for truth in TRUTHS:
            cells = [
                share_said(
                    promotions(users, truth.gain, policy, given.pairs, users, given.shared),
                    given.pairs,
                )
                for policy in policies(given.resamples).values()
            ]
            table.add_row(f"{users:,}", truth.name, *cells)
        table.add_section()
    console.print(table)
    console.print(
        f"sd of paired differences: {spread}; {given.resamples:,} resamples; "
        f"{time.perf_counter() - began:.0f} s",
        highlight=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--users", type=int, nargs="+", default=[1800, 6000])
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--shared", type=float, default=SHARED)
    given = parser.parse_args()
    simulate(given, Console())


if __name__ == "__main__":
    main()
