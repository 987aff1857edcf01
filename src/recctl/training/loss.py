"""Cross-entropy over the whole catalogue in chunks that stay in cache."""

from typing import Any

import torch
from torch import Tensor

_CPU_CHUNK_BYTES = 4 << 20
_GPU_CHUNK_BYTES = 1 << 30


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Mean of -log softmax(hidden @ items.T + bias)[target]; gradients are taken on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, items: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        rows = len(hidden)
        hidden, items, bias = hidden.float(), items.float(), bias.float()
        chunk = _chunk_rows(hidden, len(items))
        d_hidden = torch.empty_like(hidden)
        d_items, d_bias = torch.zeros_like(items), torch.zeros_like(bias)
        total = hidden.new_zeros((), dtype=torch.float32)
        for begin in range(0, rows, chunk):
            part = slice(begin, begin + chunk)
            h, target = hidden[part], targets[part, None]
            logits = torch.addmm(bias, h, items.T)
            top = logits.amax(1, keepdim=True)
            wanted = logits.gather(1, target)
            gradient = logits.sub_(top).exp_()
            norm = gradient.sum(1, keepdim=True)
            total += (norm.log() + top - wanted).sum()
            gradient.div_(norm * rows)
            gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1 / rows))
            torch.mm(gradient, items, out=d_hidden[part])
            d_items.addmm_(gradient.T, h)
            d_bias += gradient.sum(0)
        ctx.save_for_backward(d_hidden, d_items, d_bias)
        return total / rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        d_hidden, d_items, d_bias = ctx.saved_tensors
        return d_hidden * gradients[0], d_items * gradients[0], d_bias * gradients[0], None


def _chunk_rows(hidden: Tensor, n_items: int) -> int:
    budget = _CPU_CHUNK_BYTES if hidden.device.type == "cpu" else _GPU_CHUNK_BYTES
    return max(16, budget // (4 * n_items))


def catalogue_cross_entropy(hidden: Tensor, items: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of `targets` (n,) under softmax(hidden @ items.T + bias).

    hidden (n, size), items (n_items, size), bias (n_items,). The n x n_items matrix of logits
    never exists: memory is one chunk of it, whatever n.
    """
    loss = _CatalogueCrossEntropy.apply(hidden, items, bias, targets)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss
