"""Next-item prediction: each position of a window predicts the item that follows it."""

import torch
from torch import Tensor

from recctl.sequences.batching import Batch, Seen, Sizes, chosen_of, gathered


def next_item_batch(
    items: Tensor,
    starts: Tensor,
    lengths: Tensor,
    *,
    sizes: Sizes,
    pad: int,
    first: int,
    item_dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> Batch:
    """Gather windows of the flat `items`: the input is the window shifted by one position.

    starts, lengths: (batch,), on the device of `items`; `sizes` are theirs. The input begins with
    the token `first`, so that the first item is predicted too. With `item_dropout` each input item
    becomes `pad` with that probability, drawn from `generator` on the same device; targets stay.
    """
    longest = sizes.longest
    window, inside = gathered(items, starts, lengths, longest)
    tokens = torch.where(inside, window.roll(1, dims=1), pad)
    if item_dropout:
        drawn = torch.rand(tokens.shape, generator=generator, device=items.device)
        tokens.masked_fill_(drawn < item_dropout, pad)
    tokens[:, 0] = first
    chosen, weight = chosen_of(inside, sizes)
    real = None if sizes.shortest == longest else inside
    turn = torch.arange(longest, device=items.device, dtype=torch.int32).expand_as(window)
    seen = Seen(window, turn, row=chosen // longest, at=chosen % longest)
    return Batch(tokens, real, None, chosen, window.flatten()[chosen], seen, weight)
