"""The cloze task: masks some items of each window, on the device, without a loop over rows."""

import torch
from torch import Tensor

from recctl.sequences.batching import Batch, Seen, Sizes, chosen_of, gathered


def cloze_batch(
    items: Tensor,
    starts: Tensor,
    lengths: Tensor,
    masked: Tensor,
    last_only: Tensor,
    *,
    sizes: Sizes,
    pad: int,
    mask: int,
    generator: torch.Generator,
) -> Batch:
    """Gather windows of the flat `items` and mask `masked` random positions of each row.

    `at` holds each row's masked positions, padded with 0 to the batch's largest number.
    starts, lengths, masked, last_only: (batch,), on the device of `items`; `sizes` are theirs.
    """
    longest, most_masked = sizes.longest, sizes.most_masked
    window, inside = gathered(items, starts, lengths, longest)
    at = _positions(lengths, last_only, inside, most_masked, generator)
    hidden = torch.arange(most_masked, device=items.device) < masked[:, None]
    at = torch.where(hidden, at, 0)
    tokens = torch.where(inside, window, pad)
    # Unused positions of a row go to an extra last column, which is then cut off.
    spare = torch.cat([tokens, tokens.new_zeros(len(tokens), 1)], dim=1)
    tokens = spare.scatter(1, torch.where(hidden, at, longest), mask)[:, :longest].contiguous()
    chosen, weight = chosen_of(hidden, sizes)
    targets = window.gather(1, at).flatten()[chosen]
    turn = (~inside | (tokens == mask)).int()  # what is masked for one target is masked for all
    seen = Seen(window, turn, row=chosen // most_masked, at=torch.ones_like(chosen))
    if not sizes.shortest:
        # attention over nothing is not a number: a row that is padding sees all of itself
        inside = inside | (lengths == 0)[:, None]
    real = None if sizes.shortest == longest else inside
    return Batch(tokens, real, at, chosen, targets, seen, weight)


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
