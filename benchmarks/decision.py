"""How long a decision takes: one million users, 10,000 resamples, every gate on.

    python benchmarks/decision.py [--users 1000000] [--resamples 10000]

Each row runs in its own process, so that the peak memory is that row's: the evidence (ranks of
challenger, champion, best version and two baselines, eight slices) and the decision together. The
last row is the method that counting replaces: one paired interval with every resample drawn user by
user, at a hundredth of the resamples, scaled.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from gate_calibration import CATALOGUE, TYPICAL, ranks, simulated, typical_for, whole_policy
from recctl.evaluation import metrics
from recctl.evaluation.statistics import plain_means
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Evidence, Scored


def evidence(users: int) -> Evidence:
    """A challenger better by .01, with a best version, users in an order of their own."""
    rng = np.random.default_rng(0)
    found = simulated(users, typical_for(0.01), rng)
    order = rng.permutation(users)
    best = ranks(TYPICAL, rng.standard_normal(users), rng, 0.5)
    clean = np.zeros(users, np.bool_)
    return replace(
        found,
        challenger=Scored("simulated", order, np.asarray(found.challenger.ranks)[order]),
        best=Scored("simulated", found.users, best),
        leaks={**found.leaks, "best": clean},
    )


def by_counts(users: int, resamples: int) -> dict[str, object]:
    """The whole decision, by counting pairs of ranks."""
    given = evidence(users)
    began = time.perf_counter()
    decision = decide(given, whole_policy(resamples, seed=0))
    seconds = time.perf_counter() - began
    done = f"{decision.verdict}, {len(decision.gates)} rows"
    return {"what": "decide(), multinomial counts (exact)", "seconds": seconds, "done": done}


def user_by_user(users: int, resamples: int) -> dict[str, object]:
    """One interval, every resample drawn user by user."""
    rng = np.random.default_rng(0)
    difficulty = rng.standard_normal(users)
    new, old = (
        metrics.per_case("ndcg@10", ranks(TYPICAL, difficulty, rng, 0.8), CATALOGUE)
        for _ in range(2)
    )
    share = max(1, resamples // 100)
    began = time.perf_counter()
    plain_means(new - old, share, rng)
    seconds = (time.perf_counter() - began) * resamples / share
    done = f"1 interval, scaled from {share:,} resamples"
    return {"what": "user by user", "seconds": seconds, "done": done}


KINDS = {"counts": by_counts, "plain": user_by_user}


def measured(kind: str, users: int, resamples: int) -> dict[str, object]:
    """Run one kind in a process of its own."""
    command = [sys.executable, __file__, "--kind", kind]
    command += ["--users", str(users), "--resamples", str(resamples)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--kind", choices=KINDS, help="run one row in this process, as JSON")
    given = parser.parse_args()
    if given.kind:
        found = KINDS[given.kind](given.users, given.resamples)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "peak": peak}))
        return
    table = Table(title=f"{given.users:,} users, {given.resamples:,} resamples")
    for column in ("method", "seconds", "peak RSS, MiB", "what was done"):
        table.add_column(column, justify="left" if column.startswith(("m", "w")) else "right")
    for kind in KINDS:
        row = measured(kind, given.users, given.resamples)
        figures = [f"{row[name]:,.1f}" for name in ("seconds", "peak")]
        table.add_row(str(row["what"]), *figures, str(row["done"]))
    Console().print(table)


if __name__ == "__main__":
    main()
