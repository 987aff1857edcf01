"""The cloze task: masks some items of each window, on the device, without a loop over rows."""

import torch
from torch import Tensor

from recctl.sequences.batching import Batch, Seen, gathered


def cloze_batch(
    items: Tensor,
    starts: Tensor,
    lengths: Tensor,
    masked: Tensor,
    last_only: Tensor,
    *,
    longest: int,
    shortest: int,
    most_masked: int,
    total_masked: int,
    pad: int,
    mask: int,
    generator: torch.Generator,
) -> Batch:
    """Gather windows of the flat `items` and mask `masked` random positions of each row.

    `at` holds each row's masked positions, padded with 0 to the batch's largest number.
    starts, lengths, masked, last_only: (batch,), on the device of `items`. `longest`, `shortest`,
    `most_masked` and `total_masked` are their extremes and sum, known to the host, which
    avoids a synchronisation with the GPU.
    """
    window, inside = gathered(items, starts, lengths, longest)
    at = _positions(lengths, last_only, inside, most_masked, generator)
    hidden = torch.arange(most_masked, device=items.device) < masked[:, None]
    at = torch.where(hidden, at, 0)
    tokens = torch.where(inside, window, pad)
    # Unused positions of a row go to an extra last column, which is then cut off.
    spare = torch.cat([tokens, tokens.new_zeros(len(tokens), 1)], dim=1)
    tokens = spare.scatter(1, torch.where(hidden, at, longest), mask)[:, :longest].contiguous()
    # A stable sort finds the true ones without asking the device for their number.
    chosen = hidden.flatten().to(torch.uint8).argsort(descending=True, stable=True)[:total_masked]
    targets = window.gather(1, at).flatten()[chosen]
    turn = (~inside | (tokens == mask)).int()  # what is masked for one target is masked for all
    seen = Seen(window, turn, row=chosen // most_masked, at=torch.ones_like(chosen))
    return Batch(tokens, None if shortest == longest else inside, at, chosen, targets, seen)


def _positions(
    lengths: Tensor,
    last_only: Tensor,
    inside: Tensor,
    most_masked: int,
    generator: torch.Generator,
) -> Tensor:
    """Distinct random positions of each row, (batch, most_masked); the last item's for some."""
    keys = torch.rand(inside.shape, device=inside.device, generator=generator)
    at = keys.masked_fill_(~inside, -1.0).topk(most_masked, dim=1, sorted=True).indices
    return torch.where(last_only[:, None], lengths[:, None] - 1, at)
