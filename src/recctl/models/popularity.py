"""Popularity: everyone is recommended what is most interacted with in training, or of late."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import torch

from recctl.models.base import Counted, Recommender, vector
from recctl.models.shapes import Nothing, validated
from recctl.sequences.store import Histories

HALF_LIFE_DAYS = 90.0
"""Where nothing is chosen on validation; docs/experiments.md compares some."""
HALF_LIVES_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
"""From which `best` chooses."""
_LEAST = 2.0**-20
"""What an interaction counts at least: items of long ago keep their order."""
_DAY = 86_400 * 10**6


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

    def evidence(self, histories: Histories) -> torch.Tensor:
        """log(count + 1)."""
        return self.score(histories).log1p_()

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
        validated(Nothing, settings)
        return cls(vector(tensors, "counts").to(device))


class RecentPopularity(Popularity):
    """An item's score is its number of training interactions, the older the less each counts.

    One of a half-life before the newest counts half as much. Where the log has no real times all
    count alike.
    """

    kind: ClassVar[str] = "recent-popularity"
    half_life_days: float | None = None
    """None without times, and of a model that was read from its files."""

    @classmethod
    def fit(cls, train: Histories, n_items: int, half_life_days: float = HALF_LIFE_DAYS) -> Self:
        """Add up the weights of each item's interactions."""
        _, at = train.positions()
        weights = None
        if train.times is not None and len(at):
            times = train.times[at]
            days = (times.max() - times) / _DAY
            weights = np.maximum(np.exp2(-days / half_life_days), _LEAST)
        counts = np.bincount(train.items[at], weights, minlength=n_items)
        model = cls(torch.from_numpy(counts).float())
        model.half_life_days = None if train.times is None else half_life_days
        return model

    @classmethod
    def best(cls, train: Histories, n_items: int, validate: Callable[[Recommender], float]) -> Self:
        """Fitted with the half-life of the highest figure on validation, where times are real."""
        if train.times is None:
            return cls.fit(train, n_items)
        return max((cls.fit(train, n_items, days) for days in HALF_LIVES_DAYS), key=validate)
