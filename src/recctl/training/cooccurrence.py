"""Item vectors to begin training with, from the items that follow each other in the log.

A network that begins with random vectors spends most of its epochs on finding which items are
alike, and for items with few interactions never finds it. Counting finds that in seconds: the
truncated singular value decomposition of the items' pointwise mutual information, which is what
skip-gram with negative sampling factorises (Levy and Goldberg, NeurIPS 2014).
"""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recctl.models.encoder import SequenceEncoder
from recctl.sequences.store import Histories

WINDOW = 5
"""Items at most so far apart count as a pair, with weight one over their distance."""
MOST = 10**7
"""Interactions that are counted, which bounds memory."""
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
    first, second, weights = [], [], []
    for distance in range(1, WINDOW + 1):
        together = rows[:-distance] == rows[distance:]
        first.append(items[:-distance][together])
        second.append(items[distance:][together])
        weights.append(np.full(len(first[-1]), 1 / distance, np.float32))
    at = (np.concatenate(first + second), np.concatenate(second + first))
    counts = sparse.coo_array((np.concatenate(weights * 2), at), shape=(n_items, n_items))
    counts.sum_duplicates()
    weight = np.bincount(counts.row, counts.data, minlength=n_items)
    context = weight**_SMOOTHING
    context /= max(context.sum(), 1.0)
    information = np.log(counts.data / (weight[counts.row] * context[counts.col]))
    information = np.maximum(information, 0).astype(np.float32)
    found = sparse.coo_array((information, (counts.row, counts.col)), shape=counts.shape).tocsr()
    found.eliminate_zeros()
    return found
