"""An epoch's plan: which windows of which sequences are batched together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recctl.sequences.store import Histories

_CPU_PADDING = 2**9
_GPU_PADDING = 2**15
"""Padded positions that cost more than one more pass of the network."""

_LENGTHS, _TARGETS = 2, 6
"""Rounded lengths, and numbers of targets for each of them."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a batch, known to the host, which avoids a synchronisation with the GPU."""

    longest: int
    """The length of its tensors."""
    shortest: int
    """Of its rows; 0 where the sizes are rounded up: rows of length 0 are padding."""
    most_masked: int
    """Places of a row whose items are to be predicted; for a causal network its length."""
    targets: int
    """The sum of those places; where sizes are rounded up, the first ones have a weight."""

    def rounded(self, rows: int, max_length: int, share: float) -> "Sizes":
        """Rounded up to one of at most a dozen sizes of `rows` rows.

        `share` of a row's places are masked, all of them for a causal network; the number of a
        row's masked places is as plan_epoch draws it at most.
        """
        longest = _up(self.longest, max_length, _LENGTHS)
        most_masked = min(longest, int(share * longest) + 1)
        return Sizes(longest, 0, most_masked, _up(self.targets, rows * most_masked, _TARGETS))


def _up(size: int, most: int, steps: int) -> int:
    """Round up to one of so many sizes: `most`, and multiples of 8, which suit a GPU."""
    step = 8 * -(-most // (8 * steps))
    return min(most, step * -(-size // step))


@dataclass(frozen=True)
class Plan:
    """One epoch: rows in the order of training, cut into batches.

    Row i is the window items[starts[i] : starts[i] + lengths[i]], of which masked[i] items are to
    be predicted; where `last_only[i]` is set, only its last item.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    masked: NDArray[np.int64]
    last_only: NDArray[np.bool_]
    bounds: NDArray[np.int64]
    """Batch b holds the rows bounds[b]:bounds[b + 1], short ones first."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def sizes(self, rows: slice) -> Sizes:
        """The sizes of some rows."""
        lengths, masked = self.lengths[rows], self.masked[rows]
        return Sizes(int(lengths.max()), int(lengths.min()), int(masked.max()), int(masked.sum()))

    def parts(self, rows: slice, device: str) -> Iterator[slice]:
        """Cut some rows of a batch into parts of similar lengths, each padded to its own longest.

        A batch mixes rows of all lengths, so that its gradient is that of the whole data; the parts
        only save padding. A cut is made where a row is at most half as long as the longest, if that
        saves enough padded positions on a `device` of this type.
        """
        lengths = self.lengths[rows]
        end, worth = len(lengths), _CPU_PADDING if device == "cpu" else _GPU_PADDING
        while end:
            longest = lengths[end - 1]
            cut = int(np.searchsorted(lengths[:end], longest // 2, side="right"))
            if cut and cut * (longest - lengths[cut - 1]) < worth:
                cut = 0
            yield slice(rows.start + cut * rows.step, rows.start + end * rows.step, rows.step)
            end = cut


@dataclass(frozen=True)
class Seen:
    """The items that a network sees before each target: no negatives for that target."""

    window: Tensor
    """Each row's items, padded with any of them; (batch, length)"""
    turn: Tensor
    """The turn of each item; targets of a later turn see it; int32 (batch, length)"""
    row: Tensor
    """The row of each target; (n,)"""
    at: Tensor
    """The turn of each target; (n,)"""

    def items(self, part: slice, targets: Tensor) -> Tensor:
        """Items seen before some targets (m,), padded with the targets; (m, length)."""
        row, at = self.row[part], self.at[part]
        return torch.where(self.turn[row] < at[:, None], self.window[row], targets[:, None])

    def among(self, drawn: Tensor) -> Tensor:
        """Which of the `drawn` items (k,) are seen before each target; (n, k)."""
        never = torch.iinfo(self.turn.dtype).max
        ordered = drawn.sort().values
        slot = torch.searchsorted(ordered, self.window).clamp(max=len(drawn) - 1)
        turn = self.turn.where(ordered[slot] == self.window, never)
        first = turn.new_full((len(turn), len(drawn)), never).scatter_reduce_(1, slot, turn, "amin")
        # the turn of an item that was drawn twice is at its first place in `ordered`
        first = first[:, torch.searchsorted(ordered, drawn)]
        return first[self.row] < self.at[:, None]


@dataclass(frozen=True)
class Batch:
    """A network's input, and the items to predict.

    `tokens` (batch, length) are padding where `real` is false; `real` is None without padding. `at`
    (batch, m) are the positions whose output is wanted, None for all of them. `chosen` (n,) selects
    from the outputs, flattened to (batch * m), those that predict `targets` (n,); `seen` are the
    items from which each is predicted. `weight` (n,), of sum one, is each target's share in the
    loss, None where all have the same.
    """

    tokens: Tensor
    real: Tensor | None
    at: Tensor | None
    chosen: Tensor
    targets: Tensor
    seen: Seen
    weight: Tensor | None = None


def chosen_of(wanted: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor | None]:
    """Where `wanted` is true, as places of the flattened tensor, and `Batch.weight`."""
    flat = wanted.flatten()
    # A stable sort finds the true ones without asking the device for their number.
    chosen = flat.to(torch.uint8).argsort(descending=True, stable=True)[: sizes.targets]
    if sizes.shortest:
        return chosen, None
    weight = flat[chosen].float()
    return chosen, weight / weight.sum()


def gathered(items: Tensor, starts: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Windows of the flat `items`, and which positions are within a window; (batch, longest) each.

    starts, lengths: (batch,), on the device of `items`. After its end a row repeats its first
    item.
    """
    columns = torch.arange(longest, device=items.device)
    inside = columns < lengths[:, None]
    window = items[torch.where(inside, starts[:, None] + columns, starts[:, None])].long()
    return window, inside


def plan_windows(
    train: Histories, rng: np.random.Generator, *, max_length: int, batch_size: int
) -> Plan:
    """Draw an epoch of next-item prediction: one window per sequence, every item of it predicted.

    A sequence longer than `max_length` gives a window of it at a random place.
    """
    rows = rng.permutation(len(train))
    full = train.lengths[rows]
    lengths = np.minimum(full, max_length)
    starts = train.starts[rows] + rng.integers(0, full - lengths + 1)
    order, bounds = _batches(lengths, batch_size, rng)
    starts, lengths = starts[order], lengths[order]
    return Plan(starts, lengths, lengths, np.zeros(len(rows), np.bool_), bounds)


def plan_epoch(
    train: Histories,
    rng: np.random.Generator,
    *,
    max_length: int,
    batch_size: int,
    mask_probability: float,
    last_item_share: float,
) -> Plan:
    """Draw an epoch over the training sequences.

    Each sequence gives one row; a sequence longer than `max_length` gives a window of it at a
    random place. A share of the sequences gives a second row with only the last item masked: the
    task that evaluation and serving set (section 3.6 of the paper). That row ends at a random item
    of the sequence, so that the task is learnt for histories of any length and not only for the
    last item of each sequence. The number of masked items is mask_probability * length, rounded up
    or down at random so that its mean is exact, and at least one.
    """
    extra = rng.permutation(len(train))[: round(last_item_share * len(train))]
    rows = np.concatenate([rng.permutation(len(train)), extra])
    last_only = np.arange(len(rows)) >= len(train)
    full = train.lengths[rows]
    full = np.where(last_only, rng.integers(1, full + 1), full)
    lengths = np.minimum(full, max_length)
    slack = full - lengths
    offset = np.where(last_only, slack, rng.integers(0, slack + 1))
    starts = train.starts[rows] + offset
    masked = np.floor(mask_probability * lengths + rng.random(len(rows))).astype(np.int64)
    masked = np.where(last_only, 1, np.clip(masked, 1, lengths))
    order, bounds = _batches(lengths, batch_size, rng)
    return Plan(starts[order], lengths[order], masked[order], last_only[order], bounds)


def _batches(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A random order of the rows, short ones first within each batch, and the batches' bounds.

    Batches of rows of one length would train worse where histories are short: docs/experiments.md.
    """
    count = len(lengths)
    shuffled = rng.permutation(count)
    order = shuffled[np.lexsort((lengths[shuffled], np.arange(count) // batch_size))]
    return order, np.append(np.arange(0, count, batch_size), count)
