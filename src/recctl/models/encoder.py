"""The base of neural models: items in, a vector per position out, compared with the items."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from recctl import limits
from recctl.errors import UserError
from recctl.models.base import LEAST, Recommender
from recctl.models.shapes import Shape, validated
from recctl.sequences.store import Histories


class _NoNormalValues(TorchFunctionMode):
    """Embeddings get no random values: on the meta device PyTorch imports its compiler for them.

    That takes more than a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **kwargs)


class SequenceEncoder(nn.Module):
    """A network over histories, with item embeddings that its output is compared with.

    There are two more tokens: `pad`, after the end of shorter rows, and `special`, which is [MASK]
    in the cloze task and precedes the first item in next-item prediction.
    """

    causal: ClassVar[bool]
    """Whether each position sees only those before it and predicts the next item."""

    def __init__(self, n_items: int, max_length: int, hidden_size: int) -> None:
        super().__init__()
        self.n_items, self.max_length, self.hidden_size = n_items, max_length, hidden_size
        self.pad, self.special = n_items, n_items + 1
        self.item = nn.Embedding(n_items + 2, hidden_size)
        self.item_bias = nn.Parameter(torch.zeros(n_items))

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        real: Tensor | None,
        at: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Hidden vectors (batch, m, size) of the positions `at` (batch, m), None for all of them.

        tokens (batch, length) are item indices, `pad` and `special`; `real` (batch, length) is
        false at padding, or None where there is none. A generator means training: dropout is on.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments of this network's constructor, JSON-serialisable."""

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights: truncated normal of std 0.02 (BERT's), biases zero, norms one."""
        for name, parameter in self.named_parameters():
            if "norm" in name:
                nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
            elif parameter.dim() == 1:
                nn.init.zeros_(parameter)
            else:
                std = self.std(name, parameter)
                nn.init.trunc_normal_(
                    parameter, std=std, a=-2 * std, b=2 * std, generator=generator
                )

    def std(self, name: str, parameter: Tensor) -> float:
        """The standard deviation that `initialise` draws a matrix with."""
        return 0.02

    def catalogue(self) -> Tensor:
        """The output embedding, tied to the input's; (n_items, size)."""
        return self.item.weight[: self.n_items]


class Neural(Recommender):
    """A trained network as a recommender."""

    network: ClassVar[type[SequenceEncoder]]
    shape: ClassVar[type[Shape]]

    def __init__(self, encoder: SequenceEncoder) -> None:
        self.encoder = encoder
        self.n_items = encoder.n_items

    @torch.inference_mode()
    def score(self, histories: Histories) -> Tensor:
        """Scores (batch, n_items) for what comes after each history."""
        encoder = self.encoder
        device = encoder.item_bias.device
        tokens, real, last = model_input(encoder, histories)
        padding = None if bool(real.all()) else real.to(device)
        hidden = encoder(tokens.to(device), padding, last[:, None].to(device))[:, 0]
        return torch.addmm(encoder.item_bias, hidden, encoder.catalogue().T)

    def similar(self, item: int, among: Tensor | None = None) -> Tensor:
        """Cosines of the items' vectors."""
        vectors = self.encoder.catalogue()
        own, others = vectors[item], vectors if among is None else vectors[among]
        lengths = torch.linalg.vector_norm(others, dim=1) * torch.linalg.vector_norm(own)
        return torch.mv(others, own).div_(lengths.clamp_(min=LEAST))

    def settings(self) -> dict[str, Any]:
        """The network's shape."""
        return self.encoder.settings()

    def tensors(self) -> dict[str, Tensor]:
        """The network's weights."""
        return dict(self.encoder.state_dict())

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, Tensor], device: torch.device
    ) -> Self:
        """Build the network and load its weights; ValueError for settings that cannot be right."""
        encoder = cls._unfilled(*cls._checked(settings))
        encoder.load_state_dict(tensors, assign=True)
        for name, weight in encoder.state_dict().items():
            if weight.dtype != torch.float32:
                raise ValueError(f"'{name}' holds {weight.dtype} and not torch.float32")
        return cls(encoder.to(device).eval().requires_grad_(False))

    @classmethod
    def build(cls, n_items: int, shape: Shape) -> SequenceEncoder:
        """A new network of this shape; UserError where it would have too many weights."""
        try:
            cls._unfilled(n_items, shape)
        except ValueError as error:
            raise UserError(
                f"train.{cls.kind}: {error}", "lower its sizes in params.yaml"
            ) from None
        return cls.network(n_items, **cls._arguments(shape))

    @classmethod
    def _unfilled(cls, n_items: int, shape: Shape) -> SequenceEncoder:
        """The network without memory for its weights; ValueError where it has too many."""
        with torch.device("meta"), _NoNormalValues():
            encoder = cls.network(n_items, **cls._arguments(shape))
        weights = sum(weight.numel() for weight in encoder.parameters())
        if weights > limits.WEIGHTS:
            raise ValueError(f"{weights:,} weights are more than {limits.WEIGHTS:,}")
        return encoder

    @classmethod
    def _arguments(cls, shape: Shape) -> dict[str, Any]:
        """The settings of a section of params.yaml that shape the network, not its training."""
        return shape.model_dump(include=set(cls.shape.model_fields))

    @classmethod
    def _checked(cls, settings: dict[str, Any]) -> tuple[int, Shape]:
        """The number of items and the shape in a model folder's settings."""
        given = {key: value for key, value in settings.items() if key != "n_items"}
        n_items = settings["n_items"]
        if type(n_items) is not int or not 1 <= n_items <= limits.CATALOGUE:
            raise ValueError(f"n_items is {n_items!r:.40}")
        if "rotary" in cls.shape.model_fields:
            given.setdefault("rotary", False)  # missing in models that were saved before it existed
        for name in cls.shape.model_fields:
            if name not in given:
                raise KeyError(name)
        return n_items, validated(cls.shape, given)


def model_input(encoder: SequenceEncoder, histories: Histories) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (batch, length), where they are real, and the position to score at (batch,).

    The last max_length - 1 items, with `special` after them ([MASK], the cloze task) or before
    them (a causal network's first token).
    """
    kept = np.minimum(histories.lengths, encoder.max_length - 1)
    columns = np.arange(int(kept.max(initial=0)) + 1)
    shift = int(encoder.causal)
    at = (histories.ends - kept)[:, None] + columns - shift
    inside = (columns >= shift) & (columns < kept[:, None] + shift)
    items = histories.items
    if len(items):
        tokens = items[np.where(inside, at, 0)].astype(np.int64)
    else:
        tokens = np.zeros(at.shape, np.int64)
    tokens[~inside] = encoder.pad
    tokens[np.arange(len(kept)), 0 if encoder.causal else kept] = encoder.special
    real = columns <= kept[:, None]
    return torch.from_numpy(tokens), torch.from_numpy(real), torch.from_numpy(kept)
