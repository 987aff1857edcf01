"""Negatives of the sampled protocols: the candidates a target is ranked against.

Each case gets its negatives without replacement from the catalogue less its history and its
target, drawn one after the other in proportion to a weight (successive sampling). The same
negatives serve every model. Where fewer items are left than asked for, all of them are taken.
"""

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation.ranking import NO_ITEM
from recctl.sequences.store import Cases, Histories

_CHUNK = 4096
"""Cases drawn for at a time."""
_ROUNDS = 12
"""Draws with rejection before the exact draw over what is left takes over."""
_DENSE = 2**23
"""Keys held at a time by the exact draw."""


def draw_negatives(
    cases: Cases, weights: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Negatives of every case; (cases, count or n_items), NO_ITEM where no item is left.

    weights (n_items,) are positive: training counts for popularity, ones for uniform. Drawing
    and rejecting what is seen or repeated is successive sampling exactly; so is the draw by
    exponential keys (Efraimidis and Spirakis 2006) that fills rows which rejection leaves short.
    """
    assert (weights > 0).all(), "an item without weight can never be drawn"
    drawn = np.full((len(cases), min(count, len(weights))), NO_ITEM, np.int32)
    for first in range(0, len(cases), _CHUNK):
        rows = slice(first, first + _CHUNK)
        taken = _keys(cases.histories.select(rows), cases.targets[rows], len(weights))
        _fill(drawn[rows], taken, weights, rng)
    return drawn


def _keys(histories: Histories, targets: NDArray[np.int32], n_items: int) -> NDArray[np.int64]:
    """row * n_items + item for all that must not be drawn, sorted and distinct."""
    rows, items = histories.flat()
    own = np.flatnonzero(targets >= 0)
    keys = np.concatenate([rows * n_items + items, own * n_items + targets[own]])
    return np.unique(keys)


def _fill(
    drawn: NDArray[np.int32],
    taken: NDArray[np.int64],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Fill the rows of `drawn`, none of whose items may be among the keys `taken`."""
    n_items, count = len(weights), drawn.shape[1]
    left = n_items - np.bincount(taken // n_items, minlength=len(drawn))
    wanted = np.minimum(left, count)
    have = np.zeros(len(drawn), np.int64)
    upper = np.cumsum(weights)
    for _ in range(_ROUNDS):
        short = np.flatnonzero(have < wanted)
        if not len(short):
            return
        tries = int((wanted - have).max()) + 8
        point = rng.random((len(short), tries)) * upper[-1]
        items = np.minimum(np.searchsorted(upper, point, side="right"), n_items - 1)
        keys = (short[:, None] * n_items + items).ravel()
        keys = _first_and_new(keys, taken)
        kept = _append(drawn, have, wanted, keys, n_items)
        taken = _merge(taken, kept)
    _fill_exactly(drawn, have, wanted, taken, weights, rng)


def _first_and_new(keys: NDArray[np.int64], taken: NDArray[np.int64]) -> NDArray[np.int64]:
    """The keys in their order, without repeats and without those taken."""
    _, first = np.unique(keys, return_index=True)
    keys = keys[np.sort(first)]
    if not len(taken):
        return keys
    at = np.minimum(np.searchsorted(taken, keys), len(taken) - 1)
    return np.asarray(keys[taken[at] != keys])


def _append(
    drawn: NDArray[np.int32],
    have: NDArray[np.int64],
    wanted: NDArray[np.int64],
    keys: NDArray[np.int64],
    n_items: int,
) -> NDArray[np.int64]:
    """Put the keys' items behind what their rows have, up to what is wanted; the keys used."""
    rows = keys // n_items
    counts = np.bincount(rows, minlength=len(drawn))
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    at = have[rows] + within
    fits = at < wanted[rows]
    drawn[rows[fits], at[fits]] = keys[fits] % n_items
    have += np.bincount(rows[fits], minlength=len(drawn))
    return keys[fits]


def _merge(taken: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    merged = np.concatenate([taken, keys])
    merged.sort(kind="stable")
    return merged


def _fill_exactly(
    drawn: NDArray[np.int32],
    have: NDArray[np.int64],
    wanted: NDArray[np.int64],
    taken: NDArray[np.int64],
    weights: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Fill rows that are still short by the smallest keys Exponential(1) / weight."""
    n_items = len(weights)
    short = np.flatnonzero(have < wanted)
    size = max(1, _DENSE // n_items)
    for first in range(0, len(short), size):
        rows = short[first : first + size]
        keys = rng.exponential(size=(len(rows), n_items)) / weights
        for i, row in enumerate(rows):
            begin, end = np.searchsorted(taken, [row * n_items, (row + 1) * n_items])
            keys[i, taken[begin:end] - row * n_items] = np.inf
            need = int(wanted[row] - have[row])
            nearest = np.argpartition(keys[i], need - 1)[:need]
            drawn[row, have[row] : wanted[row]] = nearest[np.argsort(keys[i, nearest])]
