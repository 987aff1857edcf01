"""A year of daily looks at a champion: false alarms, and days until a real fall is seen.

    python benchmarks/monitoring.py [--years 20] [--users 1800] [--events 150 1000]

So many users take --events items a day, the active ones more (log-normal), each with a chance of a
hit of his own (beta, mean .59, gains as NDCG@10 of ranks 1 to 10: mean .268). The champion was
promoted with its figure on one target of each user. Then every day the window is judged twice: by
its fixed 95% interval against the figure less the margin, and as `recctl monitor` does, by bounds
that hold on all days of the year together. fall .1: from the first day on a tenth of the hits are
missing.
"""

import argparse
import json
import sys
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from recctl.evaluation import statistics
from recctl.evaluation.statistics import YEAR
from recctl.monitoring.params import MonitorParams
from recctl.online.interval import by_user, greatest
from recctl.promotion.judge.policy import Primary

GAINS = 1 / np.log2(np.arange(1, 11) + 1)
WAYS = ("fixed interval", "bounds of a year")
UNITS = ("years", "day")


class World:
    """Users, and what a champion gains on their events."""

    def __init__(self, users: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.chances = self.rng.beta(1.2, 0.83, users)
        activity = self.rng.lognormal(0, 1, users)
        self.activity = activity / activity.sum()

    def gains(self, who: NDArray[np.int64], kept: float = 1.0) -> NDArray[np.float64]:
        hits = self.rng.random(len(who)) < self.chances[who] * kept
        return np.where(hits, GAINS[self.rng.integers(0, 10, len(who))], 0.0)


def first_alarms(given: argparse.Namespace, events: int, fall: float, seed: int) -> dict[str, int]:
    """The day, from 0, on which each way first calls the champion fallen."""
    world, params, margin = World(given.users, seed), MonitorParams(), Primary().margin
    test = world.gains(np.arange(given.users))
    share = params.false_alarms_per_year / 2
    least = test.mean() + NormalDist().inv_cdf(share) * test.std() / np.sqrt(given.users)
    window: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
    found: dict[str, int] = {}
    for day in range(YEAR):
        who = world.rng.choice(given.users, events, p=world.activity)
        window = [*window, (who, world.gains(who, 1 - fall))][-given.window :]
        who, gains = (np.concatenate(parts) for parts in zip(*window, strict=True))
        if len(who) < params.minimum_events:
            continue
        sums, counts = by_user(who, gains)
        each, rng = sums / counts, np.random.default_rng(day)
        if WAYS[0] not in found and statistics.interval(each, 500, rng).high < test.mean() - margin:
            found[WAYS[0]] = day
        if WAYS[1] not in found and greatest(each, share / YEAR) < least - margin:
            found[WAYS[1]] = day
        if len(found) == len(WAYS):
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--users", type=int, default=1800)
    parser.add_argument("--events", type=int, nargs="+", default=[150, 1000], help="a day")
    parser.add_argument("--window", type=int, default=28, help="days")
    parser.add_argument("--falls", type=float, nargs="+", default=[0.0, 0.1, 0.25, 0.5])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    table = Table(title=f"{given.years} years each, {given.users:,} users, {given.window} days")
    for title in ("events a day", "fall", *(f"{way}: {unit}" for way in WAYS for unit in UNITS)):
        table.add_column(title, justify="right")
    rows = []
    for events in given.events:
        for fall in given.falls:
            years = [first_alarms(given, events, fall, seed) for seed in range(given.years)]
            row: dict[str, float | None] = {"events": events, "fall": fall}
            for way in WAYS:
                days = [year[way] for year in years if way in year]
                row[f"{way}: share of years with an alarm"] = len(days) / given.years
                row[f"{way}: median day of the first"] = median(days) if days else None
            rows.append(row)
            forms = (",", ".2f", ".0%", ".0f", ".0%", ".0f")
            cells = zip(row.values(), forms, strict=True)
            table.add_row(*("" if value is None else format(value, form) for value, form in cells))
            print(f"{events} events a day, fall {fall:g}: done", file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"arguments": vars(given), "rows": rows}))
        return
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
