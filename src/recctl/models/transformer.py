"""The transformer that BERT4Rec and SASRec are built of."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recctl.models.attention import attend
from recctl.models.dropout import dropout
from recctl.models.encoder import SequenceEncoder


class Block(nn.Module):
    """One transformer layer, normalised before each part (pre-LN)."""

    def __init__(
        self, size: int, heads: int, drop: float, attention_drop: float, causal: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.drop, self.attention_drop = heads, drop, attention_drop
        self.causal = causal
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

        `real` (batch, length) is false at padding; `at` (batch, m) names the positions whose
        output is wanted: in the last layer nothing else need be computed.
        """
        normed = self.attention_norm(x)
        if at is None:
            asking = normed
        else:
            index = at[..., None].expand(-1, -1, x.shape[-1])
            x, asking = x.gather(1, index), normed.gather(1, index)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        mixed = self._attend(self.query(asking), key, value, self._seen(real, at, key), generator)
        x = x + dropout(self.attention_out(mixed), self.drop, generator)
        inner = F.gelu(self.forward_in(self.forward_norm(x)))
        return x + dropout(self.forward_out(inner), self.drop, generator)

    def _seen(self, real: Tensor | None, at: Tensor | None, key: Tensor) -> Tensor | None:
        """Which keys a position may look at, (batch, 1, 1 or m, length); None for the kernel's own.

        Padding stands after the end, so that a causal layer's real positions never see any.
        """
        if not self.causal:
            return None if real is None else real[:, None, None, :]
        if at is None:
            return None
        columns = torch.arange(key.shape[1], device=key.device)
        return (columns <= at[..., None])[:, None]

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        seen: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        batch, _, size = key.shape
        shape = (batch, -1, self.heads, size // self.heads)
        query, key, value = (one.reshape(shape).transpose(1, 2) for one in (query, key, value))
        mixed = attend(
            query,
            key,
            value,
            seen=seen,
            causal=self.causal and seen is None,
            drop=self.attention_drop,
            generator=generator,
        )
        return mixed.transpose(1, 2).reshape(batch, -1, size)


class Transformer(SequenceEncoder):
    """Items and learned positions -> layers -> normalised hidden vectors."""

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
        super().__init__(n_items, max_length, hidden_size)
        self.layers, self.heads = layers, heads
        self.drop, self.attention_drop = dropout, attention_dropout
        self.position = nn.Embedding(max_length, hidden_size)
        self.blocks = nn.ModuleList(
            Block(hidden_size, heads, dropout, attention_dropout, self.causal)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_size)

    def forward(
        self,
        tokens: Tensor,
        real: Tensor | None,
        at: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `SequenceEncoder.forward`."""
        x = self.item(tokens) + self.position.weight[: tokens.shape[1]]
        x = dropout(x, self.drop, generator)
        last = len(self.blocks) - 1
        for depth, block in enumerate(self.blocks):
            x = block(x, real, at if depth == last else None, generator)
        return self.norm(x)  # type: ignore[no-any-return]

    def settings(self) -> dict[str, Any]:
        """The network's shape."""
        return {
            "n_items": self.n_items,
            "max_length": self.max_length,
            "hidden_size": self.hidden_size,
            "layers": self.layers,
            "heads": self.heads,
            "dropout": self.drop,
            "attention_dropout": self.attention_drop,
        }
