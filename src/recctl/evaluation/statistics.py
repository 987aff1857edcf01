"""Bootstrap intervals of means over users, and of paired differences; randomisation tests.

The percentile bootstrap draws as many users as there are, with replacement, and takes the mean;
2.5% and 97.5% of many such means bound the 95% interval (Efron and Tibshirani 1993, chapter 13).

Users with the same value are exchangeable, so how often each distinct value is drawn is
multinomial: with few distinct values (hr@10 has 2, ndcg@10 has 11) a resample draws that many
numbers instead of one per user. It is the same distribution, not an approximation. The same holds
for the sign-flip test: of n users with the same |difference|, how many keep their sign is binomial.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc, ndtr

LEVEL = 0.95
YEAR = 365
"""Days."""
MANY = 16
"""A multinomial count costs about as much as drawing this many users."""
_DRAWS = 2**22
"""Numbers drawn at a time: memory is bounded, whatever the users and resamples."""


POWER = 0.8
"""Of the difference that a test set is said to resolve."""
_SAME = 1e-9
"""Sums this near to each other (relative) are ties: they differ only by rounding."""


_CELLS = 512
"""More distinct values than this are drawn in as many cells ..."""
_LARGE = 100_000
"""... where there are more users than this."""


@dataclass(frozen=True)
class Counted:
    """Distinct values, ascending, and how many users have each: all that a resample needs."""

    values: NDArray[np.float64]
    """(distinct,)"""
    counts: NDArray[np.int64]
    """(distinct,), each at least 1"""

    @property
    def users(self) -> int:
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        return float(self.counts @ self.values) / self.users

    @property
    def deviation(self) -> float:
        """The standard deviation over the users (divided by n)."""
        return float(np.sqrt(self.counts @ (self.values - self.mean) ** 2 / self.users))


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval: low <= value <= high."""

    value: float
    low: float
    high: float


def enclosing(value: float, low: float, high: float) -> Interval:
    """An interval that holds its mean.

    Means of equal numbers, summed in another order, differ from each other by rounding.

    >>> enclosing(0.1 + 0.2, 0.3, 0.3).high
    0.30000000000000004
    """
    return Interval(value, min(low, value), max(high, value))


def percentile(value: float, means: NDArray[np.float64]) -> Interval:
    """A mean with the 95% percentile interval of its bootstrap means."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return enclosing(value, float(low), float(high))


def interval(values: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> Interval:
    """The mean of one value per user with its 95% interval.

    >>> interval(np.array([1.0, 1.0]), 100, np.random.default_rng(0))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    means = bootstrap_means(counted(values), resamples, rng)
    return percentile(float(values.mean()), means)  # the metric's own mean, to the last bit


def in_parts(
    draw: Callable[[int], NDArray[np.float64]], resamples: int, width: int
) -> NDArray[np.float64]:
    """Bootstrap means, drawn some at a time so that memory is bounded; (resamples,).

    `draw` gives that many means, and draws `width` numbers for each.
    """
    size = max(1, _DRAWS // width)
    starts = range(0, resamples, size)
    return np.concatenate([draw(min(size, resamples - first)) for first in starts])


def _counted_means(
    sample: Counted, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    shares = sample.counts / sample.users

    def draw(rows: int) -> NDArray[np.float64]:
        drawn = rng.multinomial(sample.users, shares, size=rows)
        return np.asarray(drawn @ sample.values / sample.users)

    return in_parts(draw, resamples, len(sample.values))


def plain_means(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The bootstrap user by user, in bounded memory; (resamples,)."""
    size = len(values)

    def draw(rows: int) -> NDArray[np.float64]:
        return np.asarray(values[rng.integers(0, size, (rows, size), np.int32)].mean(axis=1))

    return in_parts(draw, resamples, size)


def counted(values: NDArray[np.float64], counts: NDArray[np.int64] | None = None) -> Counted:
    """Values with how often each occurs; `counts` where the values come with counts already.

    >>> counted(np.array([0.5, 0.0, 0.5]))
    Counted(values=array([0. , 0.5]), counts=array([1, 2]))
    """
    assert len(values), "no values"
    assert np.isfinite(values).all(), "a metric is a finite number"
    if counts is None:
        return Counted(*np.unique(values, return_counts=True))
    distinct, place = np.unique(values, return_inverse=True)
    summed = np.zeros(len(distinct), np.int64)
    np.add.at(summed, place, counts)
    return Counted(distinct[summed > 0], summed[summed > 0])


def bootstrap_means(
    sample: Counted, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of bootstrap resamples of a counted sample; (resamples,).

    They depend only on the sample, never on the order of its users, and those of the negated
    sample are these negated: "a against b" and "b against a" cannot disagree by chance.
    The bootstrap of large samples with very many distinct values is approximate: see `condensed`.
    """
    negated = Counted(-sample.values[::-1], sample.counts[::-1])
    if _key(sample) < _key(negated):  # not by the mean, which rounding can put on either side of 0
        return 0.0 - _bootstrap_means(negated, resamples, rng)  # -x would make zeros -0.0
    return _bootstrap_means(sample, resamples, rng)


def _key(sample: Counted) -> tuple[bytes, bytes]:
    """Distinguishes a sample from its negation, whichever is given."""
    return (sample.values + 0.0).tobytes(), sample.counts.astype(np.int64).tobytes()


def _bootstrap_means(
    sample: Counted, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    sample = condensed(sample)
    if len(sample.values) * MANY > sample.users:
        return plain_means(np.repeat(sample.values, sample.counts), resamples, rng)
    return _counted_means(sample, resamples, rng)


def condensed(sample: Counted) -> Counted:
    """A large sample with its many distinct values drawn together in 512 cells of equal width.

    Each value becomes the mean of its cell, so that the mean stays; the standard deviation falls by
    less than a cell's width. Small samples and those of few values (any metric with a cutoff of
    10) come back as they are. Without it a metric such as mrr, with a value for each rank, would
    have to be drawn user by user.
    """
    if len(sample.values) <= _CELLS or sample.users <= _LARGE:
        return sample
    edges = np.linspace(sample.values[0], sample.values[-1], _CELLS + 1)
    cell = np.searchsorted(edges[1:-1], sample.values, side="right")
    counts = np.bincount(cell, sample.counts).astype(np.int64)
    sums = np.bincount(cell, sample.counts * sample.values)
    return Counted(sums[counts > 0] / counts[counts > 0], counts[counts > 0])


def interval_of(means: NDArray[np.float64], sample: Counted) -> Interval:
    """The 95% percentile interval of a sample's mean, from its bootstrap means."""
    return percentile(sample.mean, means)


def sign_flip_p(sample: Counted, resamples: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of a mean paired difference of zero, by flipping signs at random.

    If the two models are exchangeable, each user's difference is as likely to have the other sign;
    p is the share of random sign patterns whose |sum| reaches the one seen, which counts itself
    (Phipson and Smyth 2010, so that p is never zero).

    >>> sign_flip_p(counted(np.zeros(5)), 100, np.random.default_rng(0))
    1.0
    """
    sizes = condensed(counted(np.abs(sample.values), sample.counts))
    sums = np.zeros(resamples)
    for size, users in zip(sizes.values.tolist(), sizes.counts.tolist(), strict=True):
        if size > 0:
            sums += size * (2 * rng.binomial(users, 0.5, size=resamples) - users)
    seen = abs(sample.mean) * sample.users
    reached = int((np.abs(sums) >= seen * (1 - _SAME)).sum())
    return (1 + reached) / (1 + resamples)


def sign_flip_tail(sample: Counted, mean: float = 0.0) -> float:
    """One-sided p-value of the true mean being at most `mean`, for levels too small to resample.

    The chance that the sum of the values less `mean`, with signs drawn at random, reaches the one
    seen. Exact (binomial) where all are of one size; else the saddlepoint approximation of
    Lugannani and Rice (1980, equation 21), whose relative error is small far into the tail.

    >>> sign_flip_tail(Counted(np.array([0.0, 1.0]), np.array([90, 10]))) == 0.5**10
    True
    """
    sizes = counted(np.abs(sample.values - mean), sample.counts)
    kept = sizes.values > 0
    size, users = sizes.values[kept], sizes.counts[kept]
    seen, most = float(sample.counts @ (sample.values - mean)), float(users @ size)
    if not len(size) or seen <= -most * (1 - _SAME):
        return 1.0
    if len(size) == 1:
        up = (seen / size[0] + users[0]) / 2
        return float(bdtrc(np.ceil(up - _SAME) - 1, users[0], 0.5))
    if seen >= most * (1 - _SAME):
        return float(0.5 ** users.sum())
    return _saddlepoint(size, users, seen)


def _saddlepoint(size: NDArray[np.float64], users: NDArray[np.int64], seen: float) -> float:
    """Of a sum of signs times sizes: the cumulant generating function is that of log cosh."""
    spread = float(np.sqrt(users @ size**2))
    if abs(seen) < 1e-6 * spread:
        return 0.5

    def slope(t: float) -> float:
        return float(users @ (size * np.tanh(t * size))) - seen

    bound = np.sign(seen) / float(size.max())
    while slope(bound) * np.sign(seen) < 0:
        bound *= 2
    t = brentq(slope, 0.0, bound)
    scaled = t * size
    # log cosh x without overflow
    value = float(users @ (np.logaddexp(scaled, -scaled) - np.log(2)))
    w = np.sign(t) * np.sqrt(max(0.0, 2 * (t * seen - value)))
    u = t * np.sqrt(float(users @ (size**2 / np.cosh(scaled) ** 2)))
    return float(ndtr(-w) + np.exp(-w * w / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / w))


def p_not_above(means: NDArray[np.float64], bound: float) -> float:
    """One-sided bootstrap p-value of the true mean being at most `bound`.

    The share of bootstrap means at or below it, the sample itself counting as one; it inverts the
    percentile interval: p <= 2.5% where the lower end of the 95% interval is above the bound.
    """
    return (1 + int((means <= bound).sum())) / (1 + len(means))


def holm(p_values: list[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down method (Holm 1979).

    The smallest is multiplied by m, the next by m - 1, and so on; none is less than one before it.

    >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def effect_size(sample: Counted) -> float | None:
    """Mean over standard deviation of paired differences (Cohen's d_z); None where all agree."""
    return sample.mean / sample.deviation if sample.deviation > 0 else None


def resolvable(sample: Counted) -> float:
    """The smallest true difference that as many users, as varied, would show with 80% power.

    (z(.975) + z(.8)) standard errors = 2.80 of them: a two-sided test at 5% (Cohen 1988, ch. 2).
    """
    normal = NormalDist()
    errors = normal.inv_cdf((1 + LEVEL) / 2) + normal.inv_cdf(POWER)
    return errors * sample.deviation / float(np.sqrt(sample.users))
