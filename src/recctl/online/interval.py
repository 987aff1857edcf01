"""Intervals of a mean over events, where the events of one user are not independent.

Users are drawn with replacement, each with all their events, and the mean over the events drawn is
taken: the bootstrap of clusters (Davison and Hinkley 1997, section 3.8). It is a ratio, the sum of
the values over the number of events, because users differ in how many events they have.

`greatest` is exact at any level; a percentile of resamples is not at a small one.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

from recctl.evaluation.statistics import LEVEL, MANY, YEAR, Interval, in_parts, percentile

_DIGITS = 12
"""Sums that agree to so many digits are the same: they differ only by rounding."""
_DEVIATIONS = np.array([0.1, 0.18, 0.33])
"""Standard deviations of values in [0, 1] for which a bet is nearly the best."""


def by_user(
    users: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The sum of the values and the number of events of every user that has any.

    >>> by_user(np.array([7, 3, 7]), np.array([1.0, 0.5, 0.25]))
    (array([0.5 , 1.25]), array([1, 2]))
    """
    _, place, counts = np.unique(users, return_inverse=True, return_counts=True)
    sums = np.bincount(place, values, minlength=len(counts)).astype(np.float64)
    return sums, counts.astype(np.int64)


def interval(
    users: NDArray[np.int64],
    values: NDArray[np.float64],
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """The mean of one value per event with its 95% interval over users.

    >>> one_user = np.zeros(3, np.int64)
    >>> interval(one_user, np.array([1.0, 0.0, 0.5]), 100, np.random.default_rng(0))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    assert len(values), "no events"
    assert np.isfinite(values).all(), "a metric is a finite number"
    means = resampled(*by_user(users, values), resamples, rng)
    return percentile(float(values.mean()), means)


def resampled(
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    resamples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Means over events of bootstrap resamples of users; (resamples,).

    Users of the same sum and number of events are exchangeable: where few such pairs occur, how
    often each is drawn is multinomial, which is the same distribution as drawing user by user.
    """
    pairs = np.stack([np.round(sums, _DIGITS), counts], axis=1)
    distinct, sizes = np.unique(pairs, axis=0, return_counts=True)
    users = len(sums)
    one_by_one = len(distinct) * MANY > users

    def draw(rows: int) -> NDArray[np.float64]:
        if one_by_one:
            drawn = rng.integers(0, users, (rows, users), np.int32)
            return np.asarray(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
        summed = rng.multinomial(users, sizes / users, size=rows) @ distinct
        return np.asarray(summed[:, 0] / summed[:, 1])

    sums, counts = pairs.T.copy()
    return in_parts(draw, resamples, users if one_by_one else len(distinct))


def greatest(values: NDArray[np.float64], level: float) -> float:
    """The greatest mean that independent values in [0, 1] do not reject at a one-sided level.

    Where the true mean is m or more, the product of 1 + b (m - x) over the values x has an
    expectation of at most 1 for any bet b between 0 and 1 / (1 - m), and so has the mean of such
    products over several bets; by Markov's inequality it exceeds 1 / level with a probability of at
    most level. This holds for any number and distribution of values (Waudby-Smith and Ramdas 2023).

    >>> values = np.repeat([0.0, 1.0], [600, 400])
    >>> round(greatest(values, 0.025), 3), round(greatest(values, 0.0001), 3)
    (0.451, 0.476)
    """
    distinct, counts = np.unique(np.round(values, _DIGITS), return_counts=True)
    bets = math.sqrt(2 * math.log(1 / level) / len(values)) / _DEVIATIONS

    def excess(mean: float) -> float:
        allowed = np.minimum(bets, 1 / (1 - mean) if mean < 1 else np.inf) * (1 - 1e-9)
        products = counts @ np.log1p(np.multiply.outer(mean - distinct, allowed))
        return float(logsumexp(products)) - math.log(len(bets)) + math.log(level)

    if excess(1.0) <= 0:
        return 1.0
    return float(brentq(excess, float(values.mean()), 1.0))


def through_a_year(values: NDArray[np.float64]) -> tuple[float, float]:
    """Bounds of the mean of values in [0, 1], one per user, that hold on all days of a year."""
    level = (1 - LEVEL) / 2 / YEAR
    return 1 - greatest(1 - values, level), greatest(values, level)


def preferred(wins: int, losses: int) -> tuple[float, float]:
    """`through_a_year`, of the share of wins; (0, 1) where there is neither."""
    if not wins + losses:
        return 0.0, 1.0
    return through_a_year(np.repeat([1.0, 0.0], [wins, losses]))
