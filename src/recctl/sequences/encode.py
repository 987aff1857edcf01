"""Interactions to flat arrays of integers, in one pass over the log and one over its core."""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.sequences import disk
from recctl.sequences.params import SequenceSplitParams


@dataclass(frozen=True)
class Log:
    """Interactions as integers, ordered by user, time and row."""

    items: NDArray[np.int32]
    """Index into item_ids; (interactions,)"""
    times: NDArray[np.int64]
    """Microseconds since 1970-01-01 UTC; (interactions,)"""
    offsets: NDArray[np.int64]
    """Where each user begins, and the end; (users + 1,)"""
    user_ids: pa.Array
    """In byte order, as item_ids."""
    item_ids: pa.Array


COLUMNS = ("user_id", "item_id", "timestamp", "row")
"""The columns that a split needs of the interactions."""


def encode(
    batches: Iterable[pa.RecordBatch], params: SequenceSplitParams, folder: Path | None = None
) -> Log:
    """Batches with COLUMNS, ordered by user, time and row, as the `Log` of their core.

    `folder` is where the arrays are kept, in files that disappear with them; by default the
    system's folder for temporary files. Raises pa.ArrowInvalid when rows are not in order.
    """
    whole = _read(batches, folder)
    user_kept, by_user, by_item = _core(whole, params)
    order = pc.sort_indices(whole.item_ids).to_numpy()
    order = order[by_item[order] > 0]
    index = np.full(len(by_item), -1, np.int32)
    index[order] = np.arange(len(order), dtype=np.int32)
    with tempfile.TemporaryFile(dir=folder) as items, tempfile.TemporaryFile(dir=folder) as times:
        for users, rows in disk.by_users(whole.offsets):
            codes = index[disk.part(whole.items, rows)]
            kept = (codes >= 0) & _of_users(user_kept, whole.offsets, users)
            items.write(codes[kept].data)
            times.write(disk.part(whole.times, rows)[kept].data)
        return Log(
            disk.mapped(items, np.int32),
            disk.mapped(times, np.int64),
            _offsets(by_user[user_kept]),
            whole.user_ids.filter(pa.array(user_kept)),
            whole.item_ids.take(pa.array(order)),
        )


def _read(batches: Iterable[pa.RecordBatch], folder: Path | None) -> Log:
    """All interactions, with item_ids in the order of their first row."""
    index: dict[str, int] = {}
    users = _Users()
    with tempfile.TemporaryFile(dir=folder) as items, tempfile.TemporaryFile(dir=folder) as times:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            at = batch.column("timestamp").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            moments = at.to_numpy()
            users.add(batch.column("user_id"), moments, batch.column("row").to_numpy())
            items.write(_codes(batch.column("item_id"), index).data)
            times.write(np.ascontiguousarray(moments).data)
        return Log(
            disk.mapped(items, np.int32),
            disk.mapped(times, np.int64),
            _offsets(users.counts()),
            users.ids(),
            pa.array(index.keys(), pa.string()),
        )


def _codes(column: pa.Array, index: dict[str, int]) -> NDArray[np.int32]:
    """The code of each value; new values get the next codes."""
    coded = column.cast(pa.string()).dictionary_encode()
    codes = [index.setdefault(value, len(index)) for value in coded.dictionary.to_pylist()]
    found: NDArray[np.int32] = np.array(codes, np.int32)[coded.indices.to_numpy()]
    return found


class _Users:
    """The users of a log in order, and how many rows each has; checks the order of the rows."""

    def __init__(self) -> None:
        self._ids: list[pa.Array] = []
        self._counts: list[NDArray[np.int64]] = []
        self._last: tuple[pa.Array, int, int] | None = None
        """The user, time and row of the last row so far."""

    def add(self, column: pa.Array, times: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        runs = pc.run_end_encode(column.cast(pa.string()))
        ids, counts = runs.values, np.diff(runs.run_ends.to_numpy(), prepend=0).astype(np.int64)
        begins = np.zeros(len(times), np.bool_)
        begins[np.cumsum(counts) - counts] = True
        if self._last is not None:
            user, time, row = self._last
            begins[0] = ids[0] != user[0]
            ids = ids if begins[0] else ids[1:]
            _require(_ascending(pa.concat_arrays([user, ids])))
            _require(bool(begins[0]) or (time, row) < (times[0], rows[0]))
            if not begins[0]:
                self._counts[-1][-1] += counts[0]
                counts = counts[1:]
        later = (times[1:] > times[:-1]) | ((times[1:] == times[:-1]) & (rows[1:] > rows[:-1]))
        _require(_ascending(ids) and bool(np.all(later | begins[1:])))
        if len(ids):
            self._ids.append(ids)
            self._counts.append(counts)
        self._last = self._ids[-1][-1:], int(times[-1]), int(rows[-1])

    def ids(self) -> pa.Array:
        return pa.concat_arrays(self._ids) if self._ids else pa.array([], pa.string())

    def counts(self) -> NDArray[np.int64]:
        return np.concatenate([np.empty(0, np.int64), *self._counts])


def _ascending(ids: pa.Array) -> bool:
    return len(ids) < 2 or pc.all(pc.less(ids[:-1], ids[1:])).as_py() is True


def _require(ordered: bool) -> None:
    if not ordered:
        raise pa.ArrowInvalid("its rows are not in the order of users, times and row numbers")


def _core(
    log: Log, params: SequenceSplitParams
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Which users the core has, its interactions by user and by item.

    The core is the largest set of interactions whose users and items have enough of them: to
    remove one may make another too rare, so both rules are repeated until they hold.
    """
    by_user, by_item = np.diff(log.offsets), np.zeros(len(log.item_ids), np.int64)
    item_kept = np.ones(len(by_item), np.bool_)
    while True:
        user_kept = by_user >= params.minimum_user_interactions
        by_user, by_item = np.zeros_like(by_user), np.zeros_like(by_item)
        for users, rows in disk.by_users(log.offsets):
            codes = disk.part(log.items, rows)
            kept = item_kept[codes] & _of_users(user_kept, log.offsets, users)
            by_item += np.bincount(codes[kept], minlength=len(by_item))
            by_user[users] = counted(kept, log.offsets, users)
        rare = (by_item > 0) & (by_item < params.minimum_item_interactions)
        if np.all(by_user[user_kept] >= params.minimum_user_interactions) and not rare.any():
            return user_kept, by_user, by_item
        item_kept = by_item >= params.minimum_item_interactions


def _of_users(
    chosen: NDArray[np.bool_], offsets: NDArray[np.int64], users: slice
) -> NDArray[np.bool_]:
    """Which rows of some users are of chosen ones."""
    return np.repeat(chosen[users], np.diff(offsets[users.start : users.stop + 1]))


def counted(
    chosen: NDArray[np.bool_], offsets: NDArray[np.int64], users: slice
) -> NDArray[np.int64]:
    """How many rows are chosen of each of some users, from whether each of their rows is."""
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(chosen, dtype=np.int64)])
    at = offsets[users.start : users.stop + 1] - offsets[users.start]
    counts: NDArray[np.int64] = np.diff(before[at])
    return counts


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
