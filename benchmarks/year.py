"""A year of nights, each decided: what a gate that errs now and then does to what serves.

    python benchmarks/year.py [--years 16] [--users 1800] [--regimes equal worse] [--budgets 0 0.5]

365 challengers a year are judged by `decide()` under the policy of params.yaml, by ranks simulated
as in gate_calibration.py (paired differences vary by .254), of new users every night. What a
challenger's true NDCG@10 is:

- equal, worse, margin: that of whatever serves, less 0, .002 or .005;
- drift: constant, while what serves loses .0001 a night;
- better: that of whatever serves, plus improvements of --gain that arrive on --improvements random
  nights a year; every challenger has those that have arrived, until one with them serves.

A promotion is without reason where the challenger is truly no better. Budget 0: none, every night's
level is the same. Years are paired: each budget sees the same users and ranks, as long as the same
models serve.
"""

import argparse
import functools
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from statistics import mean

import numpy as np
from rich.console import Console
from rich.table import Table

from gate_calibration import CATALOGUE, primary_alone, simulated, typical_for, whole_policy
from recctl.evaluation import metrics
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Evidence, Scored

NIGHTS = 365
STEP = {"equal": 0.0, "worse": -0.002, "margin": -0.005, "drift": 0.0, "better": 0.0}
DECAY = 0.0001
MARGIN = 0.005
"""Of the policy."""


@dataclass
class Year:
    """What happened in one."""

    unreasoned: int = 0
    promotions: int = 0
    quality: float = 0.0
    """True NDCG@10 of what serves at the end, less that at the beginning."""
    waits: list[int] = field(default_factory=list)
    """Nights that each improvement waited; 0: the first challenger that had it served."""


@functools.cache
def typical(millionths: int) -> float:
    """The mean log rank of a model whose NDCG@10 is so much above the first champion's."""
    return typical_for(millionths / 1e6)


def at(gain: float) -> float:
    return typical(round(gain * 1e6))


def lived(regime: str, budget: float, given: argparse.Namespace, seed: int) -> Year:
    """One year of a regime under a budget."""
    year, champion, best = Year(), 0.0, 0.0
    chosen = np.random.default_rng([seed, 1]).choice(NIGHTS, given.improvements, replace=False)
    waiting: list[int] = []
    for night in range(NIGHTS):
        if regime == "drift":
            champion, best = champion - DECAY, best - DECAY
        if regime == "better" and night in chosen:
            waiting.append(night)
        offered = 0.0 if regime == "drift" else champion + STEP[regime]
        offered += given.gain * len(waiting)
        rng = np.random.default_rng([seed, 0, night])
        old = None if best == champion else at(best)
        evidence = simulated(given.users, at(offered), rng, champion=at(champion), best=old)
        if not promoted(evidence, budget, given.resamples, night):
            continue
        year.promotions += 1
        year.unreasoned += offered <= champion
        year.waits += [night - came for came in waiting]
        waiting = []
        best = offered if seems_best(evidence) else best
        champion = offered
    year.waits += [NIGHTS - came for came in waiting]
    year.quality = champion
    return year


def promoted(evidence: Evidence, budget: float, resamples: int, seed: int) -> bool:
    """What the primary gate rejects, the whole policy need not see."""
    changes = {"unreasoned_per_year": budget or None}
    policies = (policy(resamples, seed) for policy in (primary_alone, whole_policy))
    return all(
        decide(evidence, one.model_copy(update=changes)).verdict == "promoted" for one in policies
    )


def seems_best(evidence: Evidence) -> bool:
    """Whether the promoted one is the best version from now on: by its figure of that night."""
    rival = evidence.best or evidence.champion
    assert rival is not None

    def ndcg(one: Scored) -> float:
        return float(metrics.per_case("ndcg@10", one.ranks.astype(int), CATALOGUE).mean())

    return ndcg(evidence.challenger) >= ndcg(rival)


def summary(years: list[Year]) -> dict[str, float | int | None]:
    """The figures of a row."""
    waits = [wait for year in years for wait in year.waits]
    total = sum(year.promotions for year in years)
    return {
        "years": len(years),
        "promotions_without_reason_a_year": mean(year.unreasoned for year in years),
        "share_without_reason": sum(year.unreasoned for year in years) / total if total else None,
        "nights_until_served_mean": mean(waits) if waits else None,
        "nights_until_served_p90": float(np.quantile(waits, 0.9)) if waits else None,
        "nights_until_served_worst": max(waits, default=None),
        "quality_after_a_year": mean(year.quality for year in years),
        "quality_5th_percentile": float(np.quantile([year.quality for year in years], 0.05)),
        "years_below_the_margin": mean(year.quality < -MARGIN for year in years),
    }


def said(value: float | int | None, form: str) -> str:
    return "" if value is None else format(value, form)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--years", type=int, default=16)
    parser.add_argument("--users", type=int, default=1800)
    parser.add_argument("--regimes", nargs="+", choices=list(STEP), default=list(STEP))
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.0, 0.5])
    parser.add_argument("--improvements", type=int, default=2, help="a year, regime better")
    parser.add_argument("--gain", type=float, default=0.02, help="NDCG@10 of an improvement")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    began, found = time.perf_counter(), []
    table = Table(
        title=f"{given.years} simulated years of {NIGHTS} decisions, {given.users:,} users a night"
    )
    titles = [
        "budget",
        "promoted without reason, a year",
        "of all promotions",
        *("nights to serve: mean", "90%", "worst"),
        *("quality after a year", "5% of years below"),
    ]
    table.add_column("regime")
    for title in titles:
        table.add_column(title, justify="right")
    for regime in given.regimes:
        for budget in given.budgets:
            years = [lived(regime, budget, given, seed) for seed in range(given.years)]
            row = summary(years)
            found.append(
                {"regime": regime, "budget": budget, **row, "each": list(map(asdict, years))}
            )
            keys = list(row)[1:-1]
            forms = (".2f", ".0%", ".1f", ".0f", ".0f", "+.4f", "+.4f")
            cells = [said(row[key], form) for key, form in zip(keys, forms, strict=True)]
            table.add_row(regime, f"{budget:g}", *cells)
            print(f"{regime}, budget {budget:g}: done", file=sys.stderr, flush=True)
        table.add_section()
    if given.json:
        print(json.dumps({"arguments": vars(given), "rows": found}))
        return
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    if "better" in given.regimes:
        console.print(f"better: {given.improvements} improvements of {given.gain:g} a year")
    console.print(f"{time.perf_counter() - began:.0f} s", highlight=False)


if __name__ == "__main__":
    main()
