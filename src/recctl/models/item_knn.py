"""ItemKNN: items whose users are alike, summed over the history (Sarwar et al., WWW 2001)."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse

from recctl.models.base import LEAST, Counted, vector
from recctl.models.shapes import Nothing, validated
from recctl.models.sparse import from_tensors, row, to_tensors
from recctl.sequences.store import Histories

NEIGHBOURS = 5
"""Chosen on validation parts: docs/evaluation.md."""
_WORKING_MEMORY = 128  # MiB of distances that scikit-learn holds at a time

_PRIOR = 10.0
"""An item's similarity in `evidence` is raised by so many times its share: docs/experiments.md."""

_ZERO = 1e-5
"""A cosine below this is the rounding of zero in float32."""
_TIE_BREAK = 1e-6


class ItemKNN(Counted):
    """Each item keeps its k nearest items by the cosine of their binary vectors over users.

    score(j) = sum of cosine(i, j) over the distinct items i of the history that have j among
    their neighbours. Items that are no neighbour follow in the order of popularity: each score
    includes a millionth of the item's share of training interactions.
    """

    kind: ClassVar[str] = "item-knn"

    def __init__(self, similarity: sparse.csr_array, share: torch.Tensor) -> None:
        self.similarity, self.share = similarity, share
        self.n_items = len(share)

    @classmethod
    def fit(cls, train: Histories, n_items: int, neighbours: int = NEIGHBOURS) -> Self:
        """Find every item's neighbours, in chunks of bounded memory."""
        matrix = binary(train, n_items)
        _, items = train.flat()
        share = np.bincount(items, minlength=n_items) / max(len(items), 1)
        return cls(_nearest(matrix.T.tocsr(), neighbours), torch.from_numpy(share).float())

    def score(self, histories: Histories) -> torch.Tensor:
        """Summed similarity to each history's items; (batch, n_items)."""
        product = binary(histories, self.n_items) @ self.similarity
        return torch.from_numpy(product.toarray()).add_(self.share, alpha=_TIE_BREAK)

    def evidence(self, histories: Histories) -> torch.Tensor:
        """log(similarity + 10 share): a Dirichlet prior at the shares, not normalised."""
        return self.score(histories).add_(self.share, alpha=_PRIOR).clamp_(min=LEAST).log_()

    def similar(self, item: int, among: torch.Tensor | None = None) -> torch.Tensor:
        """Cosines with its neighbours."""
        return row(self.similarity, item, among)

    def settings(self) -> dict[str, Any]:
        """Nothing: the tensors say it all."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The similarities that were kept, and the shares."""
        return {"share": self.share, **to_tensors(self.similarity)}

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
    ) -> Self:
        """Take the similarities back; it scores on the CPU whatever the device."""
        validated(Nothing, settings)
        share = vector(tensors, "share").cpu()
        return cls(from_tensors(tensors, len(share)), share)


def _nearest(items: sparse.csr_array, neighbours: int) -> sparse.csr_array:
    """Cosines of each item (n_items, users) with its nearest others; (n_items, n_items)."""
    from sklearn import config_context  # two seconds that only fitting needs
    from sklearn.neighbors import NearestNeighbors

    n_items = items.shape[0]
    k = min(neighbours, n_items - 1)
    if k == 0:
        return sparse.csr_array(np.zeros((n_items, n_items), np.float32))
    search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute")
    with config_context(working_memory=_WORKING_MEMORY):
        distances, nearest = search.fit(sparse.csr_matrix(items)).kneighbors()
    similarity = (1 - distances).astype(np.float32).ravel()
    rows = np.repeat(np.arange(n_items, dtype=np.int32), k)
    alike = similarity > _ZERO
    entries = (similarity[alike], (rows[alike], nearest.ravel()[alike].astype(np.int32)))
    return sparse.coo_array(entries, shape=(n_items, n_items)).tocsr()


def binary(histories: Histories, n_items: int) -> sparse.csr_array:
    """Which items each history holds, as 0 or 1; (len(histories), n_items)."""
    rows, items = histories.flat()
    ones = np.ones(len(items), np.float32)
    shape = (len(histories), n_items)
    matrix = sparse.coo_array((ones, (rows.astype(np.int32), items)), shape=shape).tocsr()
    matrix.data[:] = 1.0
    return matrix
