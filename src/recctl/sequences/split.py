"""Interactions to flat arrays: the engine drops rare users and items, numpy does the rest."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.data.shape import enough
from recctl.errors import UserError
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.protocols import Positions, protocol
from recctl.sequences.vocabulary import COLD, Vocabulary


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


@dataclass(frozen=True)
class Split:
    """Everything that sequence-split writes."""

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    offsets: NDArray[np.int64]
    positions: Positions
    user_ids: pa.Array
    vocabulary: Vocabulary
    cold: pa.Table
    """The interactions with cold items: position in `items`, item_id, title."""
    fingerprint: str


COLUMNS = ("user_id", "item_id", "timestamp", "row")
"""The columns that a split needs of the interactions."""


def core(interactions: ir.Table, params: SequenceSplitParams) -> ir.Table:
    """The interactions of users and items that have enough of them, counted once.

    With a minimum for users only this is the k-core; with both, a removal may break the other
    rule, so `encode` repeats both rules on the rest.
    """
    common = enough(interactions, "item_id", params.minimum_item_interactions)
    kept = enough(common, "user_id", params.minimum_user_interactions)
    return kept.select(*COLUMNS)


def encode(batches: Iterable[pa.RecordBatch], params: SequenceSplitParams) -> Log:
    """Batches of user_id, item_id, timestamp and row, in any order, as the k-core's `Log`.

    Engines need not keep the order of a table: it is checked and, if lost, restored.
    """
    table = pa.Table.from_batches([_narrow(batch) for batch in batches], _NARROW)
    users, user_ids = _codes(table["user_id"])
    items, item_ids = _codes(table["item_id"])
    times, rows = table["timestamp"].to_numpy(), table["row"].to_numpy()
    if not _ordered(users, times, rows):
        order = np.lexsort((rows, times, users))
        users, items, times = users[order], items[order], times[order]
    if params.minimum_item_interactions > 1:
        kept = _settled(users, items, params)
        times = times[kept]
        users, user_ids = _compact(users[kept], user_ids)
        items, item_ids = _compact(items[kept], item_ids)
    counts = np.bincount(users, minlength=len(user_ids))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    return Log(items, times, offsets, user_ids, item_ids)


def _settled(
    users: NDArray[np.int32], items: NDArray[np.int32], params: SequenceSplitParams
) -> NDArray[np.int64]:
    """The indices of the largest set of interactions in which both minima hold."""
    kept = np.arange(len(users))
    while True:
        by_user, by_item = np.bincount(users[kept]), np.bincount(items[kept])
        enough = (by_user[users[kept]] >= params.minimum_user_interactions) & (
            by_item[items[kept]] >= params.minimum_item_interactions
        )
        if enough.all():
            return kept
        kept = kept[enough]


def _compact(codes: NDArray[np.int32], ids: pa.Array) -> tuple[NDArray[np.int32], pa.Array]:
    """Codes without gaps, and the remaining ids, in the same order."""
    used = np.bincount(codes, minlength=len(ids)) > 0
    place = np.cumsum(used, dtype=np.int32) - 1
    return place[codes], ids.filter(pa.array(used))


_CODED = pa.dictionary(pa.int32(), pa.string())
_NARROW = pa.schema(
    {"user_id": _CODED, "item_id": _CODED, "timestamp": pa.int64(), "row": pa.int64()}
)


def _narrow(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with its strings as codes: a tenth of the memory."""
    times = batch.column("timestamp").cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    columns = [
        batch.column("user_id").cast(pa.string()).dictionary_encode(),
        batch.column("item_id").cast(pa.string()).dictionary_encode(),
        times,
        batch.column("row").cast(pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_NARROW)


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """Each value's index among the distinct values in byte order, and those values."""
    if len(column) == 0:
        return np.empty(0, np.int32), pa.array([], pa.string())
    column = column.unify_dictionaries()
    ids = column.chunk(0).dictionary
    codes = pa.chunked_array([chunk.indices for chunk in column.chunks]).to_numpy()
    order = pc.sort_indices(ids).to_numpy()
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    return place[codes], ids.take(pa.array(order))


def _ordered(users: NDArray[np.int32], times: NDArray[np.int64], rows: NDArray[np.int64]) -> bool:
    later = times[1:] > times[:-1]
    same = times[1:] == times[:-1]
    in_user = later | (same & (rows[1:] > rows[:-1]))
    return bool(np.all((users[1:] > users[:-1]) | ((users[1:] == users[:-1]) & in_user)))


def split(log: Log, params: SequenceSplitParams, titles: dict[str, str]) -> Split:
    """Hold out targets and number the items by their popularity in training.

    Raises UserError when the core is empty, when there is one user or one item only, or when
    there is nothing to train on or no target.
    """
    _check_log(log, params)
    positions = protocol(params.protocol).split(log.offsets, log.times, params)
    _check_positions(log, positions, params)
    counts = np.bincount(log.items[training(log.offsets, positions)], minlength=len(log.item_ids))
    # Codes are in the byte order of the ids, so they settle ties of popularity.
    order = np.lexsort((np.arange(len(counts)), -counts))[: np.count_nonzero(counts)]
    index = np.full(len(counts), COLD, np.int32)
    index[order] = np.arange(len(order), dtype=np.int32)
    ids = log.item_ids.take(pa.array(order)).to_pylist()
    named = {item: titles[item] for item in ids if item in titles}
    vocabulary = Vocabulary(tuple(ids), tuple(counts[order].tolist()), named)
    items = index[log.items]
    return Split(
        items,
        log.times,
        log.offsets,
        positions,
        log.user_ids,
        vocabulary,
        _cold(log, items, titles),
        fingerprint(log, items, positions, ids, params),
    )


def _cold(log: Log, items: NDArray[np.int32], titles: dict[str, str]) -> pa.Table:
    at = np.flatnonzero(items == COLD)
    ids = log.item_ids.take(pa.array(log.items[at]))
    named = pa.array([titles.get(item) for item in ids.to_pylist()], pa.string())
    return pa.table({"position": at, "item_id": ids, "title": named})


def _check_log(log: Log, params: SequenceSplitParams) -> None:
    if len(log.user_ids) == 0:
        by_item = params.minimum_item_interactions
        items = f" with items that have at least {by_item}" if by_item > 1 else ""
        raise UserError(
            f"no user has at least {params.minimum_user_interactions} interactions{items}",
            "lower sequence-split.minimum_user_interactions or minimum_item_interactions in "
            "params.yaml, or add more data",
        )
    if len(log.user_ids) == 1:
        raise UserError("there is only one user to learn from", "add more data")
    if len(log.item_ids) == 1:
        raise UserError("there is only one item to rank", "add more data")


def _check_positions(log: Log, positions: Positions, params: SequenceSplitParams) -> None:
    if not np.any(positions.train_end > log.offsets[:-1]):
        raise _nothing("train on", params)
    for part, targets in (("validate", positions.validation), ("test", positions.test)):
        if not np.any(targets >= 0):
            raise _nothing(f"{part} with", params)


def _nothing(purpose: str, params: SequenceSplitParams) -> UserError:
    chosen = protocol(params.protocol)
    return UserError(
        f"the split {params.protocol} leaves nothing to {purpose}: {chosen.needs}", chosen.fix
    )


def training(offsets: NDArray[np.int64], positions: Positions) -> NDArray[np.bool_]:
    """Which interactions are training; (interactions,)."""
    runs = np.stack([positions.train_end - offsets[:-1], offsets[1:] - positions.train_end], axis=1)
    return np.repeat(np.tile([True, False], len(runs)), runs.ravel())


def fingerprint(
    log: Log,
    items: NDArray[np.int32],
    positions: Positions,
    item_ids: list[str],
    params: SequenceSplitParams,
) -> str:
    """A sha256 of everything that determines training and test cases.

    Over the protocol with the settings it depends on, the item ids in index order, the ids of
    the users with a target, and the arrays, little-endian.
    """
    chosen = protocol(params.protocol)
    settings: dict[str, Any] = {name: getattr(params, name) for name in chosen.settings}
    if params.targets == "first":  # as in fingerprints of before there were others
        settings.pop("targets", None)
    asked = np.flatnonzero((positions.validation >= 0) | (positions.test >= 0))
    about = {
        "version": 1,
        "protocol": params.protocol,
        "settings": settings,
        "items": item_ids,
        "users": log.user_ids.take(pa.array(asked)).to_pylist(),
    }
    hashed = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    hashed.update(np.ascontiguousarray(items, "<i4").data)
    for array in (
        log.times,
        log.offsets,
        positions.train_end,
        positions.validation,
        positions.test,
    ):
        hashed.update(np.ascontiguousarray(array, "<i8").data)
    return hashed.hexdigest()


def repeated(log: Log, targets: NDArray[np.int64]) -> int:
    """How many targets are items of the user's history."""
    lengths = np.diff(log.offsets)
    target_items = np.where(targets >= 0, log.items[targets], COLD)
    same = log.items == np.repeat(target_items, lengths)
    before = np.arange(len(log.items)) < np.repeat(targets, lengths)
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(same & before)])
    return int(np.count_nonzero(counts[log.offsets[1:]] > counts[log.offsets[:-1]]))
