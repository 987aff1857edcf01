"""BERT4Rec: a bidirectional transformer trained by masking items (Sun et al., CIKM 2019)."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recctl.models.base import Recommender
from recctl.models.dropout import dropout
from recctl.sequences.store import Histories


class Block(nn.Module):
    """One transformer layer, normalised before each part (pre-LN)."""

    def __init__(self, size: int, heads: int, drop: float, attention_drop: float) -> None:
        super().__init__()
        self.heads, self.drop, self.attention_drop = heads, drop, attention_drop
        self.attention_norm = nn.LayerNorm(size)
        self.query = nn.Linear(size, size)
        self.key_value = nn.Linear(size, 2 * size)
        self.attention_out = nn.Linear(size, size)
        self.forward_norm = nn.LayerNorm(size)
        self.forward_in = nn.Linear(size, 4 * size)
        self.forward_out = nn.Linear(4 * size, size)

    def forward(
        self,
        x: Tensor,
        real: Tensor | None,
        at: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """x (batch, length, size) -> (batch, length, size), or (batch, m, size) with `at`.

        `real` (batch, 1, 1, length) is false at padding; `at` (batch, m) names the positions
        whose output is wanted: in the last layer nothing else need be computed.
        """
        normed = self.attention_norm(x)
        if at is None:
            asking = normed
        else:
            index = at[..., None].expand(-1, -1, x.shape[-1])
            x, asking = x.gather(1, index), normed.gather(1, index)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        mixed = self._attend(self.query(asking), key, value, real, generator)
        x = x + dropout(self.attention_out(mixed), self.drop, generator)
        inner = F.gelu(self.forward_in(self.forward_norm(x)))
        return x + dropout(self.forward_out(inner), self.drop, generator)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        real: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        batch, _, size = key.shape
        shape = (batch, -1, self.heads, size // self.heads)
        query, key, value = (one.reshape(shape).transpose(1, 2) for one in (query, key, value))
        drop = self.attention_drop if generator is not None else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=real, dropout_p=drop)
        return mixed.transpose(1, 2).reshape(batch, -1, size)


class Encoder(nn.Module):
    """Items and learned positions -> layers -> the cloze head's hidden vectors."""

    def __init__(
        self,
        n_items: int,
        max_length: int,
        hidden_size: int,
        layers: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
    ) -> None:
        super().__init__()
        self.n_items, self.max_length, self.drop = n_items, max_length, dropout
        self.pad, self.mask = n_items, n_items + 1
        self.item = nn.Embedding(n_items + 2, hidden_size)
        self.position = nn.Embedding(max_length, hidden_size)
        self.blocks = nn.ModuleList(
            Block(hidden_size, heads, dropout, attention_dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, hidden_size)
        self.head_norm = nn.LayerNorm(hidden_size)
        self.item_bias = nn.Parameter(torch.zeros(n_items))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights: truncated normal of std 1 / sqrt(size), biases zero, norms one.

        The paper (section 4.2) draws within 0.02, as BERT does at 12 times the width; at width 64
        that only lengthens the plateau before the first features are learnt.
        """
        std = self.item.embedding_dim**-0.5
        for name, parameter in self.named_parameters():
            if "norm" in name:
                nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
            elif parameter.dim() == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.trunc_normal_(
                    parameter, std=std, a=-2 * std, b=2 * std, generator=generator
                )

    def forward(
        self,
        tokens: Tensor,
        real: Tensor | None,
        at: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Hidden vectors (batch, m, size) of the positions `at` (batch, m).

        tokens (batch, length) are item indices with MASK and PAD; `real` (batch, length) is false
        at padding, or None where there is none. A generator means training: dropout is on.
        """
        x = self.item(tokens) + self.position.weight[: tokens.shape[1]]
        x = dropout(x, self.drop, generator)
        keys = None if real is None else real[:, None, None, :]
        last = len(self.blocks) - 1
        for depth, block in enumerate(self.blocks):
            x = block(x, keys, at if depth == last else None, generator)
        return self.head_norm(F.gelu(self.head(self.norm(x))))  # type: ignore[no-any-return]

    def catalogue(self) -> Tensor:
        """The output embedding, tied to the input's; (n_items, size)."""
        return self.item.weight[: self.n_items]


class Bert4Rec(Recommender):
    """The encoder as a recommender: append [MASK] to the history and score what stands there."""

    kind: ClassVar[str] = "bert4rec"

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.n_items = encoder.n_items

    @torch.inference_mode()
    def score(self, histories: Histories) -> Tensor:
        """Scores (batch, n_items) for what comes after each history."""
        encoder = self.encoder
        device = encoder.item_bias.device
        tokens, real, last = self._input(histories)
        padding = None if bool(real.all()) else real.to(device)
        hidden = encoder(tokens.to(device), padding, last[:, None].to(device))[:, 0]
        return torch.addmm(encoder.item_bias, hidden, encoder.catalogue().T)

    def _input(self, histories: Histories) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (batch, length), where they are real, and the position of [MASK]."""
        kept = np.minimum(histories.lengths, self.encoder.max_length - 1)
        columns = np.arange(int(kept.max(initial=0)) + 1)
        at = (histories.ends - kept)[:, None] + columns
        inside = columns < kept[:, None]
        items = histories.items
        if len(items):
            tokens = items[np.where(inside, at, 0)].astype(np.int64)
        else:
            tokens = np.zeros(at.shape, np.int64)
        tokens[~inside] = self.encoder.pad
        tokens[np.arange(len(kept)), kept] = self.encoder.mask
        real = columns <= kept[:, None]
        return torch.from_numpy(tokens), torch.from_numpy(real), torch.from_numpy(kept)

    def settings(self) -> dict[str, Any]:
        """The encoder's shape."""
        encoder = self.encoder
        block = encoder.blocks[0]
        assert isinstance(block, Block)
        return {
            "n_items": self.n_items,
            "max_length": encoder.max_length,
            "hidden_size": encoder.item.embedding_dim,
            "layers": len(encoder.blocks),
            "heads": block.heads,
            "dropout": encoder.drop,
            "attention_dropout": block.attention_drop,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The encoder's weights."""
        return dict(self.encoder.state_dict())

    @classmethod
    def restore(
        cls, settings: dict[str, Any], tensors: dict[str, Tensor], device: torch.device
    ) -> Self:
        """Build the encoder and load its weights."""
        with torch.device("meta"):
            encoder = Encoder(**settings)
        encoder.load_state_dict(tensors, assign=True)
        return cls(encoder.to(device).eval().requires_grad_(False))
