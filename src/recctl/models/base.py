"""The interface of every recommender, and its files: safetensors and JSON, never a pickle."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from recctl import limits
from recctl.errors import UserError
from recctl.files import damaged, read_json, replacing, write_json
from recctl.sequences.store import Histories

WEIGHTS = "model.safetensors"
SETTINGS = "model.json"

LEAST = 1e-12
"""Stands for a probability of zero where a logarithm is taken."""


class Scorer(Protocol):
    """The part of a model that ranking needs."""

    @property
    def n_items(self) -> int:
        """Size of the catalogue that it scores."""

    def score(self, histories: Histories) -> torch.Tensor:
        """See `Recommender.score`."""


class Recommender(ABC):
    """Scores the whole catalogue for histories; the highest score is recommended first."""

    kind: ClassVar[str]
    """The name in the table of models and in params.yaml."""

    n_items: int
    """Size of the catalogue it scores."""

    @abstractmethod
    def score(self, histories: Histories) -> torch.Tensor:
        """Scores of all items for each history; float32 (len(histories), n_items).

        Histories hold known items only (no COLD), oldest first, any length including zero. Seen
        items are scored like any other: filtering them is left to the caller.
        """

    def evidence(self, histories: Histories) -> torch.Tensor:
        """The scores as log-probabilities, up to a constant per history: what a blend adds up."""
        return self.score(histories)

    def similar(self, item: int, among: torch.Tensor | None = None) -> torch.Tensor:
        """How near each item, or each `among` them, is to one; 1 at most, -inf where unknown.

        Raises UserError for a model that says nothing about pairs of items.
        """
        raise UserError(f"{self.kind} does not say which items are similar", "use another model")

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `restore` needs in addition to the tensors; JSON-serialisable."""

    @abstractmethod
    def tensors(self) -> dict[str, torch.Tensor]:
        """The weights by name."""

    @classmethod
    @abstractmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, torch.Tensor], device: torch.device
    ) -> Self:
        """The inverse of `settings` and `tensors`."""


class Counted(Recommender):
    """A model that one pass over the data fits: no epochs, no checkpoint."""

    @classmethod
    @abstractmethod
    def fit(cls, train: Histories, n_items: int) -> Self:
        """Count what it needs over the training sequences."""


def save_model(model: Recommender, folder: Path, about: dict[str, Any] | None = None) -> None:
    """Write a model's weights and settings into a folder; `about` is stored with the settings."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.tensors().items()}
    with replacing(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save(tensors))  # not save_file: a full disk must be an OSError
    content = {"model": model.kind, "settings": model.settings(), "about": about or {}}
    write_json(folder / SETTINGS, content)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; UserError when it is missing or damaged."""
    if not path.is_file():
        raise UserError(f"no {path}", "train a model first: 'dvc repro train'")
    path.open("rb").close()  # safetensors reports a file that may not be read as absent
    if path.stat().st_size > limits.MODEL_BYTES:
        raise damaged(path, "train", f"more than {limits.MODEL_BYTES:,} bytes")
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, json.JSONDecodeError) as error:
        raise damaged(path, "train", str(error)) from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise damaged(path, "train", f"'{name}' is not finite")
    return tensors


def vector(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """The tensor of one number per item; KeyError or ValueError where it is missing or another."""
    numbers = tensors[name]
    is_vector = numbers.dim() == 1 and numbers.dtype == torch.float32
    if not is_vector or not 1 <= len(numbers) <= limits.CATALOGUE:
        raise ValueError(f"'{name}' is not one number per item")
    return numbers


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of a model folder's model.json: `model`, `settings` and perhaps `about`."""
    content: dict[str, Any] = read_json(folder / SETTINGS, "train", ["model", "settings"])
    for key in ("settings", "about"):
        if not isinstance(content.get(key, {}), dict):
            raise damaged(folder / SETTINGS, "train", f"'{key}' holds no settings")
    return content
