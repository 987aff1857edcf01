"""The transformer that BERT4Rec and SASRec are built of."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recctl.models.attention import attend
from recctl.models.dropout import dropout
from recctl.models.encoder import SequenceEncoder

_INNER = 2**18
"""Numbers between a layer's two feed-forward products that a thread computes at a time: 1 MiB."""


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
        turns: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        """x (batch, length, size) -> (batch, length, size), or (batch, m, size) with `at`.

        `real` (batch, length) is false at padding; `at` (batch, m) names the positions whose
        output is wanted: in the last layer nothing else need be computed. `turns`: see `turning`.
        """
        normed = self.attention_norm(x)
        if at is None:
            asking = normed
        else:
            index = at[..., None].expand(-1, -1, x.shape[-1])
            x, asking = x.gather(1, index), normed.gather(1, index)
        key, value = self.key_value(normed).chunk(2, dim=-1)
        query, key, value = map(self._by_head, (self.query(asking), key, value))
        if turns is not None:
            key = turned(key, turns)
            query = turned(query, turns if at is None else turns[at][:, None])
        seen = self._seen(real, at, key.shape[2])
        mixed = attend(
            query,
            key,
            value,
            seen=seen,
            causal=self.causal and seen is None,
            drop=self.attention_drop,
            generator=generator,
        )
        mixed = mixed.transpose(1, 2).flatten(2)
        x = x + dropout(self.attention_out(mixed), self.drop, generator)
        if x.device.type == "cpu" and generator is None and not torch.is_grad_enabled():
            return self._fed(x)
        inner = F.gelu(self.forward_in(self.forward_norm(x)))
        return x + dropout(self.forward_out(inner), self.drop, generator)

    def _fed(self, x: Tensor) -> Tensor:
        """The second half of `forward` without dropout, in parts that stay in the cores' caches."""
        rows = x.reshape(-1, x.shape[-1])
        fed = torch.empty_like(rows)
        size = max(1, _INNER * torch.get_num_threads() // (4 * x.shape[-1]))
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            inner = torch.ops.aten.gelu_(self.forward_in(self.forward_norm(rows[part])))
            torch.add(rows[part], self.forward_out(inner), out=fed[part])
        return fed.reshape(x.shape)

    def _by_head(self, x: Tensor) -> Tensor:
        """(batch, length, size) -> (batch, heads, length, size / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def _seen(self, real: Tensor | None, at: Tensor | None, length: int) -> Tensor | None:
        """The keys that a position may attend to, (batch, 1, 1 or m, length); None: all, or causal.

        Padding comes last, so that a causal layer's real positions never see any.
        """
        if not self.causal:
            return None if real is None else real[:, None, None, :]
        if at is None:
            return None
        columns = torch.arange(length, device=at.device)
        return (columns <= at[..., None])[:, None]


def turning(length: int, size: int, device: torch.device) -> Tensor:
    """The rotation of each pair of a head's numbers at each position, as unit complex numbers.

    Rotary embeddings (Su et al. 2021, section 3.2.2): pair i of position p is rotated
    by p * 10000^(-2i / size), so that the product of query and key depends on their distance.
    (length, size / 2).
    """
    speeds = 10_000.0 ** (-torch.arange(0, size, 2, device=device) / size)
    angles = torch.arange(length, device=device)[:, None] * speeds
    return torch.polar(torch.ones_like(angles), angles)


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Rotate the pairs of the last dimension; x (..., length, size), turns (length, size / 2)."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class Transformer(SequenceEncoder):
    """Items and learned positions -> layers -> normalised hidden vectors.

    With `rotary` attention also depends on the distance between two positions.
    """

    def __init__(
        self,
        n_items: int,
        max_length: int,
        hidden_size: int,
        layers: int,
        heads: int,
        dropout: float,
        attention_dropout: float,
        rotary: bool = False,
    ) -> None:
        super().__init__(n_items, max_length, hidden_size)
        self.layers, self.heads, self.rotary = layers, heads, rotary
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
        size = self.hidden_size // self.heads
        turns = turning(tokens.shape[1], size, x.device) if self.rotary else None
        last = len(self.blocks) - 1
        for depth, block in enumerate(self.blocks):
            x = block(x, real, at if depth == last else None, turns, generator)
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
            "rotary": self.rotary,
        }
