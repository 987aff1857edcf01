"""ItemKNN: items whose users are alike, summed over the history (Sarwar et al., WWW 2001)."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

from recctl.models.base import Recommender
from recctl.models.sparse import from_tensors, to_tensors
from recctl.sequences.store import Histories

NEIGHBOURS = 100
"""Chosen on the validation part of MovieLens 1M; see docs/evaluation.md."""
_WORKING_MEMORY = 128  # MiB of distances that scikit-learn holds at a time


class ItemKNN(Recommender):
    """Each item keeps its k nearest items by the cosine of their binary vectors over users.

    score(j) = sum of cosine(i, j) over the distinct items i of the history that have j among
    their neighbours. An empty history scores zero everywhere.
    """

    kind: ClassVar[str] = "item-knn"

    def __init__(self, similarity: sparse.csr_array) -> None:
        self.similarity = similarity
        self.n_items = similarity.shape[0]

    @classmethod
    def fit(cls, train: Histories, n_items: int, neighbours: int = NEIGHBOURS) -> Self:
        """Find every item's neighbours, in chunks of bounded memory."""
        matrix = _binary(train, n_items).T.tocsr()
        k = min(neighbours, n_items - 1)
        if k == 0:
            return cls(sparse.csr_array(np.zeros((n_items, n_items), np.float32)))
        search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute")
        with config_context(working_memory=_WORKING_MEMORY):
            distances, nearest = search.fit(sparse.csr_matrix(matrix)).kneighbors()
        similarity = (1 - distances).astype(np.float32).ravel()
        rows = np.repeat(np.arange(n_items, dtype=np.int32), k)
        alike = similarity > 1e-6  # float32: anything smaller is the rounding of zero
        entries = (similarity[alike], (rows[alike], nearest.ravel()[alike].astype(np.int32)))
        return cls(sparse.coo_array(entries, shape=(n_items, n_items)).tocsr())

    def score(self, histories: Histories) -> torch.Tensor:
        """Summed similarity to each history's items; (batch, n_items)."""
        product = _binary(histories, self.n_items) @ self.similarity
        return torch.from_numpy(product.toarray())

    def settings(self) -> dict[str, Any]:
        """The size of the catalogue."""
        return {"n_items": self.n_items}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The similarities that were kept."""
        return to_tensors(self.similarity)

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
    ) -> Self:
        """Take the similarities back; it scores on the CPU whatever the device."""
        return cls(from_tensors(tensors, settings["n_items"]))


def _binary(histories: Histories, n_items: int) -> sparse.csr_array:
    """Which items each history holds, as 0 or 1; (len(histories), n_items)."""
    rows, items = histories.flat()
    ones = np.ones(len(items), np.float32)
    shape = (len(histories), n_items)
    matrix = sparse.coo_array((ones, (rows.astype(np.int32), items)), shape=shape).tocsr()
    matrix.data[:] = 1.0
    return matrix
