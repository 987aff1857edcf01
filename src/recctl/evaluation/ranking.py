"""The target's rank: this module alone decides candidates, the seen filter and ties.

- Candidates are the whole catalogue, less the history's items where the seen filter is on. PAD and
  MASK are not in the catalogue and are never scored.
- rank = 1 + candidates (other than the target) whose score is not below the target's. Ties count
  against the model, and so does NaN: a constant scorer comes last.
- A target whose own score is NaN or -inf has the rank n_items: last of the catalogue.
- A target that cannot be recommended has the rank n_items + 1: an item that training never saw
  (COLD), or one of the history's own items where the seen filter is on.

Ranks are counted, not sorted, batch by batch: all batches in progress together hold 64 MiB
of scores. On a CPU each thread ranks its own batches where the catalogue is small enough:
threads that share every operation wait for each other after each.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recctl.models.base import Scorer
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import COLD

NO_ITEM = -1
"""Fills a list of recommendations or negatives that has fewer items than asked for."""

_SCORES = 16 * 2**20
"""Scores held at a time: 64 MiB of float32."""
_BATCH = 128
"""Histories of a batch, at most: models hold a few tensors for each."""
_WORKERS = 8
"""Batches at once, at most: models hold tensors for each, and Python works on one at a time."""
_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class Ranks:
    """What one pass of a model over the cases gives, in the order of the cases."""

    full: NDArray[np.int64]
    """Rank among the whole catalogue; (cases,)"""
    sampled: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Rank among the negatives, by protocol; (cases,) each"""
    top: NDArray[np.int32] | None = None
    """The recommended items, best first, NO_ITEM where there are no more; (cases, k)"""
    seconds: float = 0.0


def without_seen(scores: Tensor, histories: Histories) -> Tensor:
    """A copy of the scores with -inf at each history's own items.

    >>> without_seen(torch.zeros(2, 3), Histories.of([[0], [2, 1]]))
    tensor([[-inf, 0., 0.],
            [0., -inf, -inf]])
    """
    rows, items = histories.flat()
    at = torch.from_numpy(rows * scores.shape[1] + items).to(scores.device)
    copy = scores.clone(memory_format=torch.contiguous_format)
    copy.view(-1).scatter_(0, at, -torch.inf)
    return copy


def top_items(scores: Tensor, k: int) -> Tensor:
    """The k best items of each row, best first; NO_ITEM for those at -inf or NaN; (batch, k).

    Of equal scores the item of the lower index comes first: the more popular one.

    >>> top_items(torch.tensor([[0.5, 0.7, 0.5, -torch.inf]]), k=2)
    tensor([[1, 0]])
    >>> top_items(torch.tensor([[0.5, 0.7, -torch.inf]]), k=3)
    tensor([[ 1,  0, -1]])
    """
    finite = scores.nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    n_items = scores.shape[1]
    k = min(k, n_items)
    values, items = finite.topk(min(k + 1, n_items), dim=1)
    least = values[:, k - 1, None]
    items = items[:, :k].sort(dim=1).values
    if k < n_items:
        # where the next one is as good as the last topk may have taken either
        rows = ((values[:, k, None] == least) & (least > -torch.inf))[:, 0].nonzero()[:, 0]
        items[rows] = _first_best(finite[rows], least[rows], k)
    best, order = finite.gather(1, items).sort(dim=1, descending=True, stable=True)
    return items.gather(1, order).masked_fill(best == -torch.inf, NO_ITEM)


def _first_best(scores: Tensor, least: Tensor, k: int) -> Tensor:
    """The items above `least` (batch, 1) and the first of those at it, k of a row; ascending."""
    above, equal = scores > least, scores == least
    wanted = k - above.sum(1, keepdim=True)
    taken = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= wanted))
    return taken.nonzero()[:, 1].view(-1, k)


def target_ranks(scores: Tensor, targets: Tensor, reachable: Tensor) -> Tensor:
    """Ranks of the targets among the catalogue; (batch,).

    scores (batch, n_items) with -inf at items that are no candidates; targets (batch,) item
    indices, any where `reachable` (batch,) is false.
    """
    n_items = scores.shape[1]
    own = scores.gather(1, targets[:, None])
    # items that are no candidates have -inf, so they count as below the target
    ranks = n_items - (scores < own).sum(1, dtype=torch.int32)
    return torch.where(reachable, ranks, n_items + 1)


def sampled_ranks(scores: Tensor, targets: Tensor, reachable: Tensor, negatives: Tensor) -> Tensor:
    """Ranks of the targets among their negatives (batch, count), NO_ITEM being none; (batch,)."""
    own = scores.gather(1, targets[:, None])
    there = negatives != NO_ITEM
    others = scores.gather(1, negatives.clamp(min=0))
    ranks = 1 + (there & ~(others < own)).sum(1, dtype=torch.int32)
    return torch.where(reachable, ranks, scores.shape[1] + 1)


def rank_cases(
    model: Scorer,
    cases: Cases,
    *,
    filter_seen: bool = True,
    negatives: dict[str, NDArray[np.int32]] | None = None,
    top: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Ranks:
    """Score every case once and rank its target, in full and among the negatives.

    `negatives` holds (cases, count) items by protocol; `top` > 0 asks for lists of that length;
    `progress` is called every ten seconds at most with the number of cases done.
    """
    negatives = negatives or {}
    began = time.perf_counter()
    full = np.empty(len(cases), np.int64)
    sampled = {name: np.empty(len(cases), np.int64) for name in negatives}
    lists = np.full((len(cases), top), NO_ITEM, np.int32) if top else None

    def rank(rows: NDArray[np.int64]) -> torch.device:
        with torch.inference_mode():
            batch = _Batch.score(model, cases, rows, filter_seen)
            full[rows] = target_ranks(batch.scores, batch.targets, batch.reachable).cpu().numpy()
            for name, items in negatives.items():
                sampled[name][rows] = batch.among(items[rows]).cpu().numpy()
            if lists is not None:
                best = top_items(batch.scores, top)
                lists[rows, : best.shape[1]] = best.cpu().numpy()
        return batch.scores.device

    _in_batches(cases.histories, model.n_items, rank, progress)
    return Ranks(full, sampled, lists, time.perf_counter() - began)


def top_lists(
    model: Scorer,
    histories: Histories,
    k: int,
    *,
    filter_seen: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best items after each history, NO_ITEM where there are no more, and their scores.

    Both (histories, k), the best first. `progress` as in `rank_cases`.
    """
    k = min(k, model.n_items)
    items = np.empty((len(histories), k), np.int32)
    values = np.empty((len(histories), k), np.float32)

    def rank(rows: NDArray[np.int64]) -> torch.device:
        with torch.inference_mode():
            some = histories.select(rows)
            scores = model.score(some)
            if filter_seen:
                scores = without_seen(scores, some)
            best = top_items(scores, k)
            items[rows] = best.cpu().numpy()
            values[rows] = scores.gather(1, best.clamp(min=0)).cpu().numpy()
        return scores.device

    _in_batches(histories, model.n_items, rank, progress)
    return items, values


def _in_batches(
    histories: Histories,
    n_items: int,
    rank: Callable[[NDArray[np.int64]], torch.device],
    progress: Callable[[int], None],
) -> None:
    """Call `rank` with the rows of every batch."""
    # batches of equal lengths waste no padding, and short ones at the end keep all threads busy
    order = np.argsort(-histories.lengths, kind="stable")
    size = max(1, min(_BATCH, _SCORES // n_items))
    reported, done = time.perf_counter(), 0

    def ranked(rows: NDArray[np.int64]) -> None:
        nonlocal reported, done
        done += len(rows)
        if time.perf_counter() - reported > _SECONDS_BETWEEN_LINES:
            reported = time.perf_counter()
            progress(done)

    batches = [order[first : first + size] for first in range(0, len(order), size)]
    _each(batches, rank, ranked, at_once=_SCORES // (size * n_items))


def _each(
    batches: list[NDArray[np.int64]],
    rank: Callable[[NDArray[np.int64]], torch.device],
    ranked: Callable[[NDArray[np.int64]], None],
    at_once: int,
) -> None:
    """Rank all batches and report each to `ranked`; on a CPU up to `at_once` at a time.

    The first, the longest one, is ranked alone: it shows on which device that happens.
    """
    if not batches:
        return
    first, *rest = batches
    device = rank(first)
    ranked(first)
    threads = torch.get_num_threads()
    workers = min(threads, _WORKERS, at_once, len(rest))
    if device.type != "cpu" or workers < 2:
        for rows in rest:
            rank(rows)
            ranked(rows)
        return
    each = math.ceil(threads / workers)
    pool = ThreadPoolExecutor(workers, "rank", torch.set_num_threads, (each,))
    try:
        for rows, done in [(rows, pool.submit(rank, rows)) for rows in rest]:
            done.result()
            ranked(rows)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # what a worker sets holds for every new thread


def unreachable(cases: Cases, *, filter_seen: bool) -> dict[str, int]:
    """How many targets cannot be recommended, by cause: `cold`, `seen`."""
    cold = int((cases.targets == COLD).sum())
    return {"cold": cold, "seen": int(repeated_targets(cases).sum()) if filter_seen else 0}


def repeated_targets(cases: Cases) -> NDArray[np.bool_]:
    """Whether each target is in its own history; (cases,)."""
    parts = [slice(first, first + 50_000) for first in range(0, len(cases), 50_000)]
    seen = [_target_seen(cases.histories.select(rows), cases.targets[rows]) for rows in parts]
    return np.concatenate([np.zeros(0, np.bool_), *seen])


@dataclass(frozen=True)
class _Batch:
    """Scores of some cases and what they are asked for, on the scores' device."""

    scores: Tensor
    targets: Tensor
    reachable: Tensor

    @classmethod
    def score(
        cls, model: Scorer, cases: Cases, rows: NDArray[np.int64], filter_seen: bool
    ) -> "_Batch":
        histories, targets = cases.histories.select(rows), cases.targets[rows]
        scores = model.score(histories)
        assert scores.shape == (len(rows), model.n_items), scores.shape
        reachable = targets != COLD
        if filter_seen:
            reachable &= ~_target_seen(histories, targets)
            scores = without_seen(scores, histories)
        wanted = torch.from_numpy(np.maximum(targets, 0).astype(np.int64)).to(scores.device)
        return cls(scores, wanted, torch.from_numpy(reachable).to(scores.device))

    def among(self, negatives: NDArray[np.int32]) -> Tensor:
        items = torch.from_numpy(negatives.astype(np.int64)).to(self.scores.device)
        return sampled_ranks(self.scores, self.targets, self.reachable, items)


def _target_seen(histories: Histories, targets: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether each target is in its own history; (len(histories),)."""
    rows, items = histories.flat()
    seen = np.zeros(len(histories), np.bool_)
    seen[rows[items == targets[rows]]] = True
    return seen
