"""Interleaving with simulated users: when a better version is found, how often an equal one is.

    python benchmarks/online.py [--runs 120] [--worlds 1] [--days 60] [--shares 1]

The users are the viewers of the starter data's generator, in so many worlds, on the days after the
two years of its log, on which popularity, markov and item-knn are fitted. Before each film a viewer
opens a list of ten, drafted from those of two versions. The generator knows which film comes next:
it is clicked if the viewer looks at it, at position 1 always, at each next one with .85 of the
chance. Of the other films that he looks at, one in fifty is clicked. After each day `recctl online`
judges, beside a fixed 95% interval of the same share of users. The versions:

- equal: for each user, each version gives the lists of markov or of item-knn, as a coin decides;
- knows N%: the same, and in that share of the requests the challenger puts the next film first;
- better: item-knn against popularity;
- broken: random lists against item-knn.
"""

import argparse
import json
import math
import random
import sys
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from recctl.datasets import starter
from recctl.models import BASELINES
from recctl.online.report import preferred
from recctl.recommend import Served
from recctl.sequences.store import Histories
from recctl.sequences.vocabulary import Vocabulary
from recctl.serve.interleave import team_draft

K = 10
LOOKS = 0.85
CURIOUS = 0.02
WAYS = ("fixed interval", "recctl online")
CASES = ("equal", "knows 2%", "knows 5%", "knows 10%", "better", "broken")


@dataclass(frozen=True)
class Request:
    """A viewer opens a list."""

    day: int
    user: int
    next: str
    """The film that he watches."""
    best: dict[str, list[str]]
    """The lists of the models."""


class World:
    """The requests of the days after the log."""

    def __init__(self, seed: int, days: int) -> None:
        made = starter.following_days(seed, first_day=0, days=starter.DAYS + days)
        end = starter.FIRST_DAY + starter.DAYS * starter.SECONDS_A_DAY
        films = sum(film.day < starter.DAYS for film in made.films)
        seen: defaultdict[int, list[int]] = defaultdict(list)
        later = []
        for user, item, time in made.interactions:
            if time < end:
                seen[user].append(item - 1)
        train = Histories.of(list(seen.values()))
        self.items = tuple(map(str, range(films)))
        for user, item, time in made.interactions:
            if time >= end:
                history = [str(one) for one in seen[user] if one < films]
                later.append(((time - end) // starter.SECONDS_A_DAY, user, str(item - 1), history))
                seen[user].append(item - 1)
        lists = {}
        for kind in ("popularity", "markov", "item-knn"):
            model = BASELINES[kind].fit(train, films)
            served = Served(model, Vocabulary(self.items, (1,) * films))
            found = served.recommend_each([one[-1] for one in later], K, filter_seen=True)
            lists[kind] = [[one.item_id for one in best] for best in found]
        self.requests = [
            Request(*one[:3], {kind: own[at] for kind, own in lists.items()})
            for at, one in enumerate(later)
        ]
        self.users = sorted({one.user for one in self.requests})

    def lists(
        self, case: str, one: Request, models: list[str], rng: random.Random
    ) -> tuple[list[str], list[str]]:
        """Those of champion and challenger; `models` are theirs for this user."""
        if case == "better":
            return one.best["popularity"], one.best["item-knn"]
        if case == "broken":
            return one.best["item-knn"], rng.sample(self.items, K)
        first, second = (one.best[kind] for kind in models)
        if case != "equal" and rng.random() < float(case.split()[1][:-1]) / 100:
            second = [one.next, *(item for item in second if item != one.next)]
        return first, second[:K]


def credit(drafted: list[tuple[str, int | None]], film: str, rng: random.Random) -> int:
    """Clicks on the challenger's items less those on the champion's."""
    found = 0
    for place, (item, team) in enumerate(drafted):
        looks = rng.random() < LOOKS**place
        if looks and team is not None and (item == film or rng.random() < CURIOUS):
            found += 1 if team else -1
    return found


def judged(credits: dict[int, int]) -> dict[str, int]:
    """The better side by each way that calls one better: 1 the challenger, 0 the champion."""
    found = {}
    values = np.array([*credits.values()], np.int64)
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    if wins + losses >= 30 and abs(wins - losses) > 1.96 * math.sqrt(wins + losses):
        found[WAYS[0]] = int(wins > losses)
    share = preferred(values)
    if share.low is not None and share.high is not None and not share.low <= 0.5 <= share.high:
        found[WAYS[1]] = int(share.low > 0.5)
    return found


def run(world: World, case: str, share: float, seed: int) -> dict[str, tuple[int, int]]:
    """By way the day of the first verdict, from 1, and the better side."""
    rng = random.Random(seed)
    models = {user: rng.choices(["markov", "item-knn"], k=2) for user in world.users}
    inside = {user for user in world.users if rng.random() < share}
    credits: defaultdict[int, int] = defaultdict(int)
    found: dict[str, tuple[int, int]] = {}
    requests = [one for one in world.requests if one.user in inside]
    for one, following in zip(requests, [*requests[1:], None], strict=True):
        drafted = team_draft(*world.lists(case, one, models[one.user], rng), K, rng)
        credits[one.user] += credit(drafted, one.next, rng)
        if following is None or following.day > one.day:
            for way, side in judged(credits).items():
                found.setdefault(way, (one.day + 1, side))
            if len(found) == len(WAYS):
                break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=120, help="of equal versions; a quarter else")
    parser.add_argument("--worlds", type=int, default=1)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0], help="of the users")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    worlds = [World(7 + number, given.days) for number in range(given.worlds)]
    table = Table(title=f"{given.runs} runs of equal versions, a quarter else; {given.days} days")
    columns = ("verdicts", "wrong", "median day")
    for title in ("versions", "users", *(f"{way}: {each}" for way in WAYS for each in columns)):
        table.add_column(title, justify="right")
    rows = []
    for case in CASES:
        runs = given.runs if case == "equal" else given.runs // 4
        for share in given.shares:
            firsts = [run(worlds[n % len(worlds)], case, share, n) for n in range(runs)]
            users = share * sum(len(world.users) for world in worlds) / len(worlds)
            row: dict[str, float | str | None] = {"versions": case, "users": users}
            for way in WAYS:
                found = [first[way] for first in firsts if way in first]
                right = {"equal": None, "broken": 0}.get(case, 1)
                row[f"{way}: verdicts"] = len(found) / runs
                row[f"{way}: wrong"] = sum(side != right for _, side in found) / runs
                row[f"{way}: median day"] = median(day for day, _ in found) if found else None
            rows.append(row)
            forms = ("", ",.0f", *(".1%", ".1%", ".0f") * 2)
            cells = zip(row.values(), forms, strict=True)
            table.add_row(*("" if value is None else format(value, form) for value, form in cells))
            print(json.dumps(row), file=sys.stderr, flush=True)
    if given.json:
        print(json.dumps({"arguments": vars(given), "rows": rows}))
        return
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
