"""Slices of the test users: where a model is strong and where it fails.

- `history length`: short, medium, long, cut at the tertiles of the test users' history lengths.
- `target popularity`: head, middle, tail. Items in the order of training popularity, cut where
  they have gathered a third and two thirds of all training interactions; an item that crosses a
  cut belongs to the more popular part. Cold targets are in none of them.
- `cold targets`: all users, only those whose target training saw (warm), and the others (cold).
- `target` (where seen items may be recommended): repeat, the target is in the history, or explore.
- `user` (where training knows only some of them): known, or new, without a training interaction.
- `arrival` (gates only, and only where the log has real times): the newest quarter of the users by
  their first interaction.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from recctl.sequences.store import Cases
from recctl.sequences.vocabulary import COLD

FEW_USERS = 200
"""Below this many users a slice's numbers are called uncertain in reports."""


@dataclass(frozen=True)
class Slice:
    """Some of the test users, by a rule."""

    name: str
    """The criterion by which users are grouped."""
    group: str
    rule: str
    """The group's bounds, in words."""
    members: NDArray[np.bool_]
    """(cases,)"""

    @property
    def users(self) -> int:
        return int(self.members.sum())


def slices(
    cases: Cases,
    counts: NDArray[np.int64],
    repeated: NDArray[np.bool_] | None = None,
    new: NDArray[np.bool_] | None = None,
) -> list[Slice]:
    """All slices of the cases; `counts` (n_items,) are the training counts by item index.

    `repeated` (cases,), targets in their own history, where such may be recommended; `new` (cases,)
    of users without a training interaction.
    """
    found = [
        *by_history_length(cases.histories.lengths),
        *by_target_popularity(cases.targets, counts),
        *by_cold_target(cases.targets),
    ]
    if repeated is not None:
        found += [
            Slice("target", "repeat", "an item of the user's history", repeated),
            Slice("target", "explore", "new to the user", ~repeated),
        ]
    if new is not None and new.any():
        found += [
            Slice("user", "known", "has training interactions", ~new),
            Slice("user", "new", "has no training interaction", new),
        ]
    return found


def by_history_length(lengths: NDArray[np.int64]) -> list[Slice]:
    """Short, medium and long histories, by tertiles of the users."""
    low, high = np.quantile(lengths, [1 / 3, 2 / 3], method="inverted_cdf").astype(int).tolist()
    middle = f"{low + 1} to {high} items" if low < high else "none"
    rules = [
        ("short", f"at most {low} items", lengths <= low),
        ("medium", middle, (lengths > low) & (lengths <= high)),
        ("long", f"more than {high} items", lengths > high),
    ]
    return [Slice("history length", *rule) for rule in rules]


def by_target_popularity(targets: NDArray[np.int32], counts: NDArray[np.int64]) -> list[Slice]:
    """Targets of the head, the middle and the tail of training popularity."""
    before = np.cumsum(counts) - counts
    part = np.minimum(3 * before // max(int(counts.sum()), 1), 2)  # 0 head, 1 middle, 2 tail
    of_target = np.where(targets == COLD, COLD, part[targets])
    sizes = np.bincount(part, minlength=3).tolist()
    rules = ["most popular items", "items after them", "least popular items"]
    return [
        Slice("target popularity", group, f"the {size:,} {rule}", of_target == i)
        for i, (group, size, rule) in enumerate(
            zip(["head", "middle", "tail"], sizes, rules, strict=True)
        )
    ]


def by_cold_target(targets: NDArray[np.int32]) -> list[Slice]:
    """All users, those whose target training saw, and those whose target it never saw."""
    cold = targets == COLD
    return [
        Slice("cold targets", "all", "every test user", np.ones(len(targets), np.bool_)),
        Slice("cold targets", "warm", "target seen in training", ~cold),
        Slice("cold targets", "cold", "target never seen in training", cold),
    ]


def by_arrival(first_times: NDArray[np.int64]) -> list[Slice]:
    """The newest quarter of the users; `first_times` (cases,) in microseconds since 1970."""
    cut = int(np.quantile(first_times, 0.75, method="inverted_cdf"))
    since = datetime.fromtimestamp(cut / 1e6, UTC).date().isoformat()
    return [Slice("arrival", "newest", f"first seen after {since}", first_times > cut)]
