"""A blend: a network and counted models as one, each with a weight that validation gave it."""

from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from recctl import limits
from recctl.models.base import Recommender
from recctl.models.item_knn import ItemKNN
from recctl.models.kinds import COUNTED, NEURAL
from recctl.models.markov import Markov
from recctl.models.shapes import validated
from recctl.sequences.store import Histories
from recctl.settings import Settings


class _Part(Settings):
    """A model of the blend in model.json."""

    weight: float = Field(gt=0, le=limits.COUNT)
    settings: dict[str, Any]


class _Parts(Settings):
    """The settings of a blend."""

    parts: dict[str, _Part] = Field(min_length=1)
    """By the model's name."""


class Blend(Recommender):
    """score(j) = sum over the parts of weight * log of the part's probability of j.

    A log-linear pool (Genest and Zidek, Statistical Science 1986). A constant per history changes
    no ranking, so that no part has to be normalised: a network's logits enter as they are.
    """

    kind: ClassVar[str] = "blend"

    def __init__(self, parts: dict[str, Recommender], weights: dict[str, float]) -> None:
        self.parts, self.weights = parts, weights
        sizes = {part.n_items for part in parts.values()}
        if len(sizes) != 1:
            raise ValueError(f"its parts have catalogues of {sorted(sizes)} items")
        [self.n_items] = sizes

    def score(self, histories: Histories) -> Tensor:
        """The weighted sum of the parts' evidence, on the first part's device."""
        first, *others = (
            self.weights[name] * self.parts[name].evidence(histories) for name in self.parts
        )
        for other in others:
            first += other.to(first.device)
        return first

    def similar(self, item: int, among: Tensor | None = None) -> Tensor:
        """As its network says; without one as item-knn does, or Markov."""
        for name in (*NEURAL, ItemKNN.kind, Markov.kind):
            if name in self.parts:
                return self.parts[name].similar(item, among)
        return super().similar(item, among)

    def settings(self) -> dict[str, Any]:
        """Each part's weight and settings."""
        return {
            "parts": {
                name: {"weight": self.weights[name], "settings": part.settings()}
                for name, part in self.parts.items()
            }
        }

    def tensors(self) -> dict[str, Tensor]:
        """The parts' tensors, each under the name of its part."""
        return {
            f"{name}/{key}": tensor
            for name, part in self.parts.items()
            for key, tensor in part.tensors().items()
        }

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, Tensor], device: torch.device
    ) -> Self:
        """Restore each part; ValueError or KeyError where a part is unknown or does not fit."""
        given = validated(_Parts, settings).parts
        own: dict[str, dict[str, Tensor]] = {name: {} for name in given}
        for key, tensor in tensors.items():
            name, _, rest = key.partition("/")
            own[name][rest] = tensor
        kinds: dict[str, type[Recommender]] = {**NEURAL, **COUNTED}
        parts = {
            name: kinds[name].restore(part.settings, own[name], device)
            for name, part in given.items()
        }
        return cls(parts, {name: part.weight for name, part in given.items()})
