"""Scaled dot-product attention (Vaswani et al. 2017), with dropout that is cheap on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recctl.models.dropout import kept_bytes

# torch's fused kernel has no dropout on a CPU, and its replacement takes more than twice as long
# as this (an epoch of MovieLens 1M's lengths, 2 cores, torch 2.13; docs/experiments.md).

_AT_A_TIME = 2**19
"""Attention weights computed at a time: 2 MiB of float32 stay in a core's cache."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    seen: Tensor | None = None,
    causal: bool = False,
    drop: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Values averaged by the similarity of their keys to the queries; (batch, heads, m, size).

    query (batch, heads, m, size); key and value (batch, heads, n, size). `seen`, false at keys that
    a query must not attend to, broadcasts to (batch, heads, m, n); `causal` (with m = n and no
    `seen`) hides those after the query. Every query sees at least one key. With a generator weights
    are dropped with probability `drop`; on a CPU it is rounded to 256ths and the generator decides.
    """
    assert not (causal and seen is not None)
    if generator is None or drop == 0 or query.device.type != "cpu":
        probability = drop if generator is not None else 0.0
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=seen, dropout_p=probability, is_causal=causal
        )
    if causal:
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()[None, None]
    hidden = None
    if seen is not None:
        hidden = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)
        hidden = hidden.expand(query.shape[0], -1, -1, -1)
    kept, scale = kept_bytes((*query.shape[:3], key.shape[2]), drop, generator)
    return _Dropped.apply(query, key, value, hidden, kept, scale)  # type: ignore[no-untyped-call,no-any-return]


class _Dropped(torch.autograd.Function):
    """softmax(query key^T / sqrt(size) + hidden) * kept * scale, times value; some rows at a time.

    kept (batch, heads, m, n) is 1 or 0; hidden, broadcastable to it, 0 or -inf.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        hidden: Tensor | None,
        kept: Tensor,
        scale: float,
    ) -> Tensor:
        query = query * query.shape[-1] ** -0.5
        weights = torch.empty(kept.shape, dtype=query.dtype)
        mixed = torch.empty_like(query)
        for rows in _rows(kept):
            part = torch.matmul(query[rows], key[rows].transpose(-1, -2), out=weights[rows])
            if hidden is not None:
                part += hidden[rows]
            torch.softmax(part, -1, out=part)
            torch.matmul(part * kept[rows], value[rows], out=mixed[rows])
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.scale = scale
        return mixed.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        gradient = gradients[0] * ctx.scale
        of_query, of_key, of_value = map(torch.empty_like, (query, key, value))
        for rows in _rows(kept):
            part, mask, given = weights[rows], kept[rows], gradient[rows]
            torch.matmul((part * mask).transpose(-1, -2), given, out=of_value[rows])
            of_part = torch.matmul(given, value[rows].transpose(-1, -2)).mul_(mask)
            # through the softmax: w * (g - sum(w * g))
            of_part.mul_(part)
            of_part.sub_(part * of_part.sum(-1, keepdim=True))
            torch.matmul(of_part, key[rows], out=of_query[rows])
            torch.matmul(of_part.transpose(-1, -2), query[rows], out=of_key[rows])
        of_query.mul_(query.shape[-1] ** -0.5)
        return of_query, of_key, of_value, None, None, None


def _rows(weights: Tensor) -> list[slice]:
    """The batch in parts of about `_AT_A_TIME` weights."""
    size = max(1, _AT_A_TIME // max(1, weights[0].numel()))
    return [slice(first, first + size) for first in range(0, len(weights), size)]
