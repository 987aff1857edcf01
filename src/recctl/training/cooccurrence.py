"""Item vectors to begin training with, from the items that follow each other in the log.

A network that begins with random vectors spends most of its epochs on finding which items are
alike, and for items with few interactions never finds it. Counting finds that in seconds: the
truncated singular value decomposition of the items' pointwise mutual information, which is what
skip-gram with negative sampling factorises (Levy and Goldberg, NeurIPS 2014).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from recctl.models.encoder import SequenceEncoder
from recctl.sequences.store import Histories

WINDOW = 5
"""Items at most so far apart count as a pair, with weight one over their distance."""
MOST = 10**7
"""Interactions that are counted, which bounds memory."""
_PAIRS = 2 * 10**7
"""Pairs that are in memory before they are added up; those of an item are together."""
_SMOOTHING = 0.75
"""Exponent of a context item's frequency (Levy, Goldberg and Dagan, TACL 2015, section 3.2)."""


_STD = 0.05
"""Of the vectors' numbers."""


def begin(encoder: SequenceEncoder, train: Histories) -> None:
    """Set an encoder's item vectors and biases to what the log's counts give.

    A bias is the logarithm of an item's popularity: the scores of a softmax without any history.
    """
    n_items = encoder.n_items
    train = latest(train)
    counts = torch.from_numpy(np.bincount(train.flat()[1], minlength=n_items) + 1)
    popularity = counts.float().log()
    vectors = cooccurrence_vectors(train, n_items, encoder.hidden_size)
    with torch.no_grad():
        encoder.item_bias.copy_(popularity - popularity.mean())
        if vectors is not None:
            paired = vectors.any(dim=1)
            encoder.item.weight[:n_items][paired] = vectors[paired]


def latest(train: Histories) -> Histories:
    """The last sequences, of `MOST` interactions together at most, and one sequence at least."""
    later = np.cumsum(train.lengths[::-1])
    return train.select(slice(-max(1, int(np.searchsorted(later, MOST, side="right"))), None))


def cooccurrence_vectors(train: Histories, n_items: int, size: int) -> Tensor | None:
    """Vectors (n_items, size) that are close where items co-occur.

    Zero where an item has no pair; None where the log has too few pairs for `size` dimensions.
    """
    matrix = mutual_information(train, n_items)
    if min(n_items - 1, matrix.nnz) <= size:
        return None
    from sklearn.utils.extmath import randomized_svd  # two seconds that only training needs

    left, values, _ = randomized_svd(matrix, size, random_state=0)
    vectors = left * np.sqrt(values)
    # a rotation keeps all distances; without it the first numbers of each vector are the largest
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
    vectors = vectors @ rotation
    return torch.from_numpy(vectors * (_STD / vectors.std())).float()


def mutual_information(train: Histories, n_items: int) -> sparse.csr_array:
    """Positive pointwise mutual information of the pairs; (n_items, n_items), float32."""
    rows, items = train.flat()
    counted = [_counts(rows, items, block, n_items) for block in _blocks(items, n_items)]
    weight = np.zeros(n_items)
    for counts in counted:
        weight += np.bincount(counts.row, counts.data, minlength=n_items)
    context = weight**_SMOOTHING
    context /= max(context.sum(), 1.0)
    found = []
    for counts in counted:
        information = np.log(counts.data / (weight[counts.row] * context[counts.col]))
        positive = information > 0
        at = (counts.row[positive], counts.col[positive])
        found.append((information[positive].astype(np.float32), *at))
    data, row, col = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return sparse.coo_array((data, (row, col)), shape=(n_items, n_items)).tocsr()


def _blocks(items: NDArray[np.int32], n_items: int) -> Iterator[slice]:
    """Ranges of items that have about _PAIRS pairs, or of one item."""
    pairs = np.cumsum(np.bincount(items, minlength=n_items)) * 2 * WINDOW
    ends = np.flatnonzero(np.diff(pairs // _PAIRS)) + 1
    for first, last in pairwise([0, *ends.tolist(), n_items]):
        yield slice(first, last)


def _counts(
    rows: NDArray[np.int64], items: NDArray[np.int32], block: slice, n_items: int
) -> sparse.coo_array:
    """The weights of the pairs whose first item is in a range, added up; (n_items, n_items)."""
    pairs: tuple[list[list[NDArray[Any]]], ...] = ([], [])
    for distance in range(1, WINDOW + 1):
        together = rows[:-distance] == rows[distance:]
        ends = items[:-distance], items[distance:]
        for found, one, other in zip(pairs, ends, ends[::-1], strict=True):
            chosen = together & (one >= block.start) & (one < block.stop)
            weights = np.full(int(chosen.sum()), 1 / distance, np.float32)
            found.append([weights, one[chosen], other[chosen]])
    data, row, col = (np.concatenate(parts) for parts in zip(*pairs[0], *pairs[1], strict=True))
    counts = sparse.coo_array((data, (row, col)), shape=(n_items, n_items))
    counts.sum_duplicates()
    return counts
