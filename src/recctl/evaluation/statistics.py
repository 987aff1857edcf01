"""Bootstrap intervals of means over users, and of paired differences.

The percentile bootstrap draws as many users as there are, with replacement, and takes the mean;
2.5% and 97.5% of many such means bound the 95% interval (Efron and Tibshirani 1993, chapter 13).

Users with the same value are exchangeable, so how often each distinct value is drawn is
multinomial: with few distinct values (hr@10 has 2, ndcg@10 has 11) a resample draws that many
numbers instead of one per user. It is the same distribution, not an approximation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_MANY = 16
"""A multinomial count costs about as much as drawing this many users."""
_DRAWS = 2**22
"""Numbers drawn at a time: memory is bounded, whatever the users and resamples."""


@dataclass(frozen=True)
class Interval:
    """A mean and its bootstrap interval."""

    value: float
    low: float
    high: float


def interval(values: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> Interval:
    """The mean of one value per user with its 95% interval.

    >>> interval(np.array([1.0, 1.0]), 100, np.random.default_rng(0))
    Interval(value=1.0, low=1.0, high=1.0)
    """
    assert len(values), "no values"
    assert np.isfinite(values).all(), "a metric is a finite number"
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled_means(values, resamples, rng), [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def paired_interval(
    new: NDArray[np.float64],
    old: NDArray[np.float64],
    resamples: int,
    rng: np.random.Generator,
) -> Interval:
    """The mean of new - old with its 95% interval, the same users being drawn for both."""
    assert new.shape == old.shape, (new.shape, old.shape)
    return interval(new - old, resamples, rng)


def resampled_means(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of bootstrap resamples; (resamples,)."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) * _MANY > len(values):
        return plain_means(values, resamples, rng)
    shares = counts / len(values)
    means = np.empty(resamples)
    size = max(1, _DRAWS // len(distinct))
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        drawn = rng.multinomial(len(values), shares, size=rows)
        means[first : first + rows] = drawn @ distinct / len(values)
    return means


def plain_means(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The bootstrap user by user, in bounded memory; (resamples,)."""
    means = np.empty(resamples)
    size = max(1, _DRAWS // len(values))
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        drawn = rng.integers(0, len(values), size=(rows, len(values)), dtype=np.int32)
        means[first : first + rows] = values[drawn].mean(axis=1)
    return means
