"""Popularity: everyone is recommended what is most interacted with in training."""

from typing import Any, ClassVar, Self

import numpy as np
import torch

from recctl.models.base import Counted
from recctl.sequences.store import Histories


class Popularity(Counted):
    """An item's score is its number of training interactions."""

    kind: ClassVar[str] = "popularity"

    def __init__(self, counts: torch.Tensor) -> None:
        self.counts = counts
        self.n_items = len(counts)

    @classmethod
    def fit(cls, train: Histories, n_items: int) -> Self:
        """Count the interactions of each item."""
        _, items = train.flat()
        return cls(torch.from_numpy(np.bincount(items, minlength=n_items)).float())

    def score(self, histories: Histories) -> torch.Tensor:
        """The same scores for every history; (batch, n_items)."""
        return self.counts.repeat(len(histories), 1)

    def settings(self) -> dict[str, Any]:
        """Nothing: the counts say it all."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The counts."""
        return {"counts": self.counts}

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
    ) -> Self:
        """Take the counts back."""
        return cls(tensors["counts"].to(device))
