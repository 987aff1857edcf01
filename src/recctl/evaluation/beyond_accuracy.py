"""Beyond accuracy: how much of the catalogue is recommended, and how popular and alike it is."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recctl.evaluation.ranking import NO_ITEM
from recctl.models.item_knn import binary
from recctl.sequences.store import Histories
from recctl.sequences.vocabulary import COLD

_LISTS = 1000
"""Lists whose diversity is measured, at most."""


def beyond_accuracy(
    top: NDArray[np.int32], histories: Histories, counts: NDArray[np.int64]
) -> dict[str, float | None]:
    """Figures of the recommended lists `top` (users, k), given the training counts (n_items,).

    - `coverage`: share of the catalogue that is in at least one list
    - `gini`: inequality of how often the catalogue's items are in lists, 0 where all are equally
      often, near 1 where few items fill all lists (Fleder and Hosanagar, Management Science 2009)
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
        "gini": _gini(np.bincount(shown, minlength=len(counts))),
        "novelty": _mean(novelty[shown]),
        "popularity_recommended": recommended,
        "popularity_history": history,
        "popularity_bias": recommended - history if both else None,  # type: ignore[operator]
    }


def item_vectors(train: Histories, n_items: int) -> sparse.csr_array:
    """The items' binary vectors over the training users, of length 1; (n_items, users)."""
    vectors = binary(train, n_items).T.tocsr().astype(np.float64)
    lengths = np.sqrt(np.maximum(vectors.sum(axis=1), 1))
    return sparse.csr_array(vectors.multiply(1 / lengths[:, None]))


def diversity(top: NDArray[np.int32], vectors: sparse.csr_array) -> float | None:
    """Intra-list diversity: the mean over lists of the mean distance of two items of a list.

    The distance is one less the cosine of their `item_vectors`, so that no description of the items
    is needed (Ziegler et al., WWW 2005; Vargas and Castells, RecSys 2011). Over at most 1,000
    lists, evenly spaced; None where no list has two items.
    """
    some = top[:: -(-len(top) // _LISTS) or 1]
    sizes = (some != NO_ITEM).sum(axis=1)
    some, sizes = some[sizes > 1], sizes[sizes > 1]
    if not len(some):
        return None
    rows = Histories.of([row[row != NO_ITEM].tolist() for row in some])
    summed = binary(rows, vectors.shape[0]) @ vectors
    # the squared length of a sum of unit vectors is their number and twice the cosines of the pairs
    cosines = (summed.multiply(summed).sum(axis=1) - sizes) / (sizes * (sizes - 1))
    return float(1 - cosines.mean())


def serendipity(
    ranks: NDArray[np.int64], popularity: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """1 where a target is among the first k, but not among the k most popular; (cases,).

    Useful and not obvious: a hit that the simple model misses (Ge et al., RecSys 2010).
    """
    return ((ranks <= k) & (popularity > k)).astype(np.float64)


def inverse_propensity(
    values: NDArray[np.float64], targets: NDArray[np.int32], counts: NDArray[np.int64]
) -> float:
    """The mean of (cases,) values, each weighted by one over its target's propensity to be seen.

    The propensity is the square root of the training count (Saito et al., WSDM 2020),
    of a cold target that of one interaction; the weights are divided by their sum (Swaminathan and
    Joachims, NeurIPS 2015).

    >>> inverse_propensity(np.array([1.0, 0.0]), np.array([0, 1]), np.array([4, 1]))
    0.3333333333333333
    """
    weights = 1 / np.sqrt(np.where(targets == COLD, 1, np.maximum(counts[targets], 1)))
    return float(weights @ values / weights.sum())


def _gini(counts: NDArray[np.int64]) -> float | None:
    total, size = int(counts.sum()), len(counts)
    if not total:
        return None
    places = np.arange(1, size + 1)
    return float((2 * places - size - 1) @ np.sort(counts) / (size * total))


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
