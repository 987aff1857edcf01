"""Figures of some events: means over the events, an interval over their users."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation import metrics, statistics
from recctl.evaluation.ranking import unreachable
from recctl.evaluation.statistics import enclosing
from recctl.monitoring.events import Events
from recctl.online.interval import by_user, greatest, interval

_COUNTS = ("events", "users", "cold", "seen", "newcomers")


@dataclass(frozen=True)
class Rules:
    """How ranks become figures."""

    metrics: list[str]
    """The first one has the interval."""
    catalogue: int
    """Items of the champion's catalogue."""
    filter_seen: bool
    resamples: int
    seed: int


@dataclass(frozen=True)
class Day:
    """The figures of one day (UTC), or of several taken together."""

    day: str
    """ISO 8601, such as 2026-11-23; of several days the first."""
    last: str
    """The last day; the same where there is one."""
    events: int
    users: int
    cold: int
    """Events whose item the champion does not know."""
    seen: int
    """Events whose item was taken before and is barred by the seen filter."""
    newcomers: int
    """Events before which the champion knew nothing of the user."""
    values: dict[str, float]
    """Means over the events, by metric."""
    low: float
    high: float
    """The 95% interval of the first metric."""

    @property
    def span(self) -> str:
        """The day, or the first and the last one."""
        return self.day if self.day == self.last else f"{self.day} to {self.last}"

    def as_points(self) -> dict[str, float]:
        """All figures of a day by name, as MLflow keeps them."""
        first = next(iter(self.values))
        bounds = {f"{first}/low": self.low, f"{first}/high": self.high}
        return {**{name: getattr(self, name) for name in _COUNTS}, **self.values, **bounds}


@dataclass(frozen=True)
class Alike:
    """Events as the test cases of a promotion are: of users with a history, each user once.

    A user's events count as their mean, as a promotion's test has one target of each user.
    """

    events: int
    users: int
    fewest: int
    """Items of the history that a test user of the promotion has at least."""
    value: float
    low: float
    high: float
    at_most: float
    """The upper bound that holds on all days of a year together."""


def alike(
    events: Events, ranks: NDArray[np.int64], rules: Rules, fewest: int, level: float
) -> Alike:
    """The first metric over the events that are like a promotion's test cases; 0 where none is.

    `at_most` is of this level.
    """
    there = events.cases.histories.lengths >= fewest
    if not there.any():
        return Alike(0, 0, fewest, 0.0, 0.0, 0.0, 1.0)
    gains = metrics.per_case(rules.metrics[0], ranks[there], rules.catalogue)
    sums, counts = by_user(events.cases.users[there], gains)
    each = sums / counts
    found = statistics.interval(each, rules.resamples, np.random.default_rng(rules.seed))
    bound = greatest(each, level)
    return Alike(int(there.sum()), len(sums), fewest, found.value, found.low, found.high, bound)


def of_points(number: int, points: dict[str, float], names: list[str]) -> Day | None:
    """The inverse of `as_points`; None where a figure is missing."""
    wanted = [*_COUNTS, *names, f"{names[0]}/low", f"{names[0]}/high"]
    if not points.keys() >= set(wanted):
        return None
    kept = enclosing(points[names[0]], points[f"{names[0]}/low"], points[f"{names[0]}/high"])
    return Day(
        day=iso(number),
        last=iso(number),
        **{name: int(points[name]) for name in _COUNTS},
        values={name: points[name] for name in names},
        low=kept.low,
        high=kept.high,
    )


def summary(events: Events, ranks: NDArray[np.int64], rules: Rules) -> Day:
    """The figures of events taken together; there is at least one.

    The same events always give the same interval.
    """
    first, last = int(events.days.min()), int(events.days.max())
    cases, primary = events.cases, rules.metrics[0]
    rng = np.random.default_rng([rules.seed, first % 2**32, last % 2**32])
    gains = metrics.per_case(primary, ranks, rules.catalogue)
    found = interval(cases.users, gains, rules.resamples, rng)
    return Day(
        day=iso(first),
        last=iso(last),
        events=len(events),
        users=len(np.unique(cases.users)),
        **unreachable(cases, filter_seen=rules.filter_seen),
        newcomers=int((cases.histories.lengths == 0).sum()),
        values=metrics.means(rules.metrics, ranks, rules.catalogue),
        low=found.low,
        high=found.high,
    )


def iso(number: int) -> str:
    """A day since 1970-01-01 as text.

    >>> iso(0), iso(20_780)
    ('1970-01-01', '2026-11-23')
    """
    return str(np.datetime64(number, "D"))


def number_of(day: str) -> int:
    """The inverse of `iso`."""
    return int(np.datetime64(day, "D").astype(np.int64))
