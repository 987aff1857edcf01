"""Next-item prediction: each position of a window tells the item that follows, on the device."""

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
    """Gather windows of the flat `items`: what is given is one behind what is to be told.

    starts, lengths: (batch,), on the device of `items`. Before the first item the token `first` is
    given, so that the first item is predicted too, from nothing. `longest`, `shortest` and `total`
    are the lengths' extremes and sum, known to the host so that a GPU need not be asked. With
    `item_dropout` each given item is hidden (it becomes `pad`) with that probability, as
    `generator`, on the same device, decides; what is to be told stays.
    """
    window, inside = gathered(items, starts, lengths, longest)
    tokens = torch.where(inside, window.roll(1, dims=1), pad)
    if item_dropout:
        drawn = torch.rand(tokens.shape, generator=generator, device=items.device)
        tokens.masked_fill_(drawn < item_dropout, pad)
    tokens[:, 0] = first
    # A stable sort finds the real ones without asking the device how many there are.
    chosen = inside.flatten().to(torch.uint8).argsort(descending=True, stable=True)[:total]
    real = None if shortest == longest else inside
    turn = torch.arange(longest, device=items.device, dtype=torch.int32).expand_as(window)
    seen = Seen(window, turn, row=chosen // longest, at=chosen % longest)
    return Batch(tokens, real, None, chosen, window.flatten()[chosen], seen)
