"""Beyond accuracy: how much of the catalogue is recommended, and how popular it is."""

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation.ranking import NO_ITEM
from recctl.sequences.store import Histories


def beyond_accuracy(
    top: NDArray[np.int32], histories: Histories, counts: NDArray[np.int64]
) -> dict[str, float | None]:
    """Figures of the recommended lists `top` (users, k), given the training counts (n_items,).

    - `coverage`: share of the catalogue that is in at least one list
    - `novelty`: mean of -log2(share of training interactions) over all recommended items, in bits
      (Zhou et al., PNAS 2010): higher is less obvious
    - `popularity_recommended`, `popularity_history`: mean popularity percentile (see
      `popularity_percentiles`) of the recommended items, and the mean over users of that of their
      histories
    - `popularity_bias`: the first less the second; above 0, lists are more popular than tastes

    A figure without anything to count is None.
    """
    percentiles = popularity_percentiles(counts)
    shown = top[top != NO_ITEM]
    novelty = -np.log2(counts / counts.sum())
    recommended = _mean(percentiles[shown])
    history = _mean_over_users(histories, percentiles)
    both = recommended is not None and history is not None
    return {
        "coverage": len(np.unique(shown)) / len(counts),
        "novelty": _mean(novelty[shown]),
        "popularity_recommended": recommended,
        "popularity_history": history,
        "popularity_bias": recommended - history if both else None,  # type: ignore[operator]
    }


def popularity_percentiles(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the catalogue that is less popular, ties counting half; (n_items,).

    >>> popularity_percentiles(np.array([9, 5, 5, 1]))
    array([0.875, 0.5  , 0.5  , 0.125])
    """
    ordered = np.sort(counts)
    below = np.searchsorted(ordered, counts, side="left")
    not_above = np.searchsorted(ordered, counts, side="right")
    return np.asarray((below + not_above) / (2 * len(counts)))


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _mean_over_users(histories: Histories, values: NDArray[np.float64]) -> float | None:
    """The mean over users of the mean of their items' values; empty histories do not count."""
    total, users = 0.0, 0
    for first in range(0, len(histories), 50_000):
        part = histories.select(slice(first, first + 50_000))
        rows, items = part.flat()
        sums = np.bincount(rows, weights=values[items], minlength=len(part))
        some = part.lengths > 0
        total += float((sums[some] / part.lengths[some]).sum())
        users += int(some.sum())
    return total / users if users else None
