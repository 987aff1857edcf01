"""Next-item prediction: each position of a window predicts the item that follows it."""

import torch
from torch import Tensor

from recctl.sequences.batching import Batch, Seen, gathered


def next_item_batch(
    items: Tensor,
    starts: Tensor,
    lengths: Tensor,
    *,
    longest: int,
    shortest: int,
    total: int,
    pad: int,
    first: int,
    item_dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> Batch:
    """Gather windows of the flat `items`: the input is the window shifted by one position.

    starts, lengths: (batch,), on the device of `items`. The input begins with the token `first`, so
    that the first item is predicted too. `longest`, `shortest` and `total` are the extremes and the
    sum of the lengths, known to the host, which avoids a synchronisation with the GPU. With
    `item_dropout` each input item becomes `pad` with that probability, drawn from `generator` on
    the same device; targets stay.
    """
    window, inside = gathered(items, starts, lengths, longest)
    tokens = torch.where(inside, window.roll(1, dims=1), pad)
    if item_dropout:
        drawn = torch.rand(tokens.shape, generator=generator, device=items.device)
        tokens.masked_fill_(drawn < item_dropout, pad)
    tokens[:, 0] = first
    # A stable sort finds the real ones without asking the device for their number.
    chosen = inside.flatten().to(torch.uint8).argsort(descending=True, stable=True)[:total]
    real = None if shortest == longest else inside
    turn = torch.arange(longest, device=items.device, dtype=torch.int32).expand_as(window)
    seen = Seen(window, turn, row=chosen // longest, at=chosen % longest)
    return Batch(tokens, real, None, chosen, window.flatten()[chosen], seen)
