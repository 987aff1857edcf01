"""First-order Markov chain: what followed the last item in training, backed off to popularity."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse

from recctl.models.base import LEAST, Counted, vector
from recctl.models.shapes import Smoothing, validated
from recctl.models.sparse import from_tensors, row, to_tensors
from recctl.sequences.store import Histories

SMOOTHING = 10.0
"""Chosen on validation parts: docs/evaluation.md."""


class Markov(Counted):
    """P(next = j | last = i) with a Dirichlet prior at the items' shares of training.

    With C(i, j) the number of times j came directly after i, C(i) its sum over j, p(j) the share
    of training interactions that are j, and m the smoothing (Zhai and Lafferty, SIGIR 2001):

        P(j | i) = (C(i, j) + m p(j)) / (C(i) + m)

    An item that nothing followed, and an empty history, score as popularity: P(j) = p(j).
    """

    kind: ClassVar[str] = "markov"

    def __init__(
        self, transitions: sparse.csr_array, share: torch.Tensor, smoothing: float
    ) -> None:
        self.transitions, self.share, self.smoothing = transitions, share, smoothing
        self.n_items = len(share)

    @classmethod
    def fit(cls, train: Histories, n_items: int, smoothing: float = SMOOTHING) -> Self:
        """Count direct successions; memory grows with the interactions, not n_items squared."""
        rows, items = train.flat()
        share = np.bincount(items, minlength=n_items) / max(len(items), 1)
        follows = rows[1:] == rows[:-1]
        pair = (items[:-1][follows], items[1:][follows])
        ones = np.ones(len(pair[0]), np.float32)
        transitions = sparse.coo_array((ones, pair), shape=(n_items, n_items)).tocsr()
        return cls(transitions, torch.from_numpy(share).float(), smoothing)

    def score(self, histories: Histories) -> torch.Tensor:
        """P(j | last item) for each history; (batch, n_items)."""
        some = np.flatnonzero(histories.lengths > 0)
        last = histories.items[histories.ends[some] - 1]
        counts = torch.from_numpy(self.transitions[last].toarray())
        totals = counts.sum(1, keepdim=True)
        scores = self.share.repeat(len(histories), 1)
        smoothed = (counts + self.smoothing * self.share) / (totals + self.smoothing)
        scores[torch.from_numpy(some)] = smoothed
        return scores

    def evidence(self, histories: Histories) -> torch.Tensor:
        """log P(j | last item)."""
        return self.score(histories).clamp_(min=LEAST).log_()

    def similar(self, item: int, among: torch.Tensor | None = None) -> torch.Tensor:
        """The share of each item among those that came directly after it in training."""
        counts = row(self.transitions, item, among)
        return counts.div_(float(self.transitions[[item]].sum()))

    def settings(self) -> dict[str, Any]:
        """The smoothing."""
        return {"smoothing": self.smoothing}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The transition counts and the shares."""
        return {"share": self.share, **to_tensors(self.transitions)}

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
    ) -> Self:
        """Take the counts back; it scores on the CPU whatever the device."""
        share = vector(tensors, "share").cpu()
        smoothing = validated(Smoothing, settings).smoothing
        return cls(from_tensors(tensors, len(share)), share, smoothing)
