"""An epoch's plan: which windows of which sequences are batched together."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recctl.sequences.store import Histories

_POOL = 16
"""Batches whose rows are sorted by length together: enough for little padding, few enough that a
batch still mixes lengths and users from all over the data."""


@dataclass(frozen=True)
class Plan:
    """One epoch: rows in the order of training, cut into batches.

    Row i is the window items[starts[i] : starts[i] + lengths[i]], of which masked[i] items are to
    be predicted; `last_only[i]` says that it is its last item alone.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    masked: NDArray[np.int64]
    last_only: NDArray[np.bool_]
    bounds: NDArray[np.int64]
    """Batch b holds the rows bounds[b]:bounds[b + 1]."""

    def __len__(self) -> int:
        return len(self.bounds) - 1


@dataclass(frozen=True)
class Seen:
    """What a network is shown when it is to tell a target: no rivals of it in a ranking."""

    window: Tensor
    """Each row's items, those beyond its end any of them; (batch, length)"""
    turn: Tensor
    """When each is shown: to the targets of a later turn; int32 (batch, length)"""
    row: Tensor
    """The row of each target; (n,)"""
    at: Tensor
    """The turn of each target; (n,)"""

    def items(self, part: slice, targets: Tensor) -> Tensor:
        """Items shown before some targets (m,), filled up with the targets; (m, length)."""
        row, at = self.row[part], self.at[part]
        return torch.where(self.turn[row] < at[:, None], self.window[row], targets[:, None])

    def among(self, drawn: Tensor) -> Tensor:
        """Which of the `drawn` items (k,) are shown before each target; (n, k)."""
        never = torch.iinfo(self.turn.dtype).max
        ordered = drawn.sort().values
        slot = torch.searchsorted(ordered, self.window).clamp(max=len(drawn) - 1)
        turn = self.turn.where(ordered[slot] == self.window, never)
        first = turn.new_full((len(turn), len(drawn)), never).scatter_reduce_(1, slot, turn, "amin")
        # an item that was drawn twice has its turn where it is first in order
        first = first[:, torch.searchsorted(ordered, drawn)]
        return first[self.row] < self.at[:, None]


@dataclass(frozen=True)
class Batch:
    """What a network is given, and the items that it is to tell.

    `tokens` (batch, length) hold padding where `real` is false, None where there is none. `at`
    (batch, m) are the positions whose output is wanted, None for all of them. `chosen` (n,) picks
    from the outputs, flattened to (batch * m), those whose items are `targets` (n,); `seen` is what
    each of them is told from.
    """

    tokens: Tensor
    real: Tensor | None
    at: Tensor | None
    chosen: Tensor
    targets: Tensor
    seen: Seen


def gathered(items: Tensor, starts: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Windows of the flat `items`, and where they are inside them; (batch, longest) each.

    starts, lengths: (batch,), on the device of `items`. Beyond its end a row repeats its first
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
    of the sequence, so that the task is learnt for histories of any length and not for the same
    last item over and over. The number of masked items is mask_probability * length, rounded up or
    down at random so that its mean is exact, and at least one.
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
    """An order of the rows and the batches' bounds: similar lengths together, batches shuffled."""
    count = len(lengths)
    shuffled = rng.permutation(count)
    pool = np.arange(count) // (_POOL * batch_size)
    grouped = shuffled[np.lexsort((lengths[shuffled], pool))]
    edges = np.append(np.arange(0, count, batch_size), count)
    batches = rng.permutation(len(edges) - 1)
    order = np.concatenate([grouped[edges[b] : edges[b + 1]] for b in batches])
    sizes = np.diff(edges)[batches]
    return order, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
