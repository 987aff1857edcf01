"""A log as integers to training histories and held-out targets."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.errors import UserError
from recctl.sequences import disk
from recctl.sequences.encode import Log, counted
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.protocols import Positions, protocol
from recctl.sequences.vocabulary import COLD, Vocabulary


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


def split(
    log: Log, params: SequenceSplitParams, titles: dict[str, str], folder: Path | None = None
) -> Split:
    """Hold out targets and number the items by their popularity in training.

    `folder` is as in `encode`. Raises UserError when the core is empty, when there is one user or
    one item only, or when there is nothing to train on or no target.
    """
    _check_log(log, params)
    positions = protocol(params.protocol).split(log.offsets, log.times, params)
    _check_positions(log, positions, params)
    counts = _popularity(log, positions)
    # Codes are in the byte order of the ids, so they settle ties of popularity.
    order = np.lexsort((np.arange(len(counts)), -counts))[: np.count_nonzero(counts)]
    index = np.full(len(counts), COLD, np.int32)
    index[order] = np.arange(len(order), dtype=np.int32)
    ids = log.item_ids.take(pa.array(order)).to_pylist()
    named = {item: titles[item] for item in ids if item in titles}
    vocabulary = Vocabulary(tuple(ids), tuple(counts[order].tolist()), named)
    with tempfile.TemporaryFile(dir=folder) as file:
        for rows in disk.slices(len(log.items)):
            file.write(index[disk.part(log.items, rows)].data)
        items = disk.mapped(file, np.int32)
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
    parts = (
        rows.start + np.flatnonzero(disk.part(items, rows) == COLD)
        for rows in disk.slices(len(items))
    )
    at = np.concatenate([np.empty(0, np.int64), *parts])
    named = pa.array([titles.get(item) for item in log.item_ids.to_pylist()], pa.string())
    codes = pa.array(disk.gather(log.items, at))
    return pa.table(
        {"position": at, "item_id": log.item_ids.take(codes), "title": named.take(codes)}
    )


def _popularity(log: Log, positions: Positions) -> NDArray[np.int64]:
    """How many interactions of training each item has."""
    counts = np.zeros(len(log.item_ids), np.int64)
    for users, rows in disk.by_users(log.offsets):
        offsets = log.offsets[users.start : users.stop + 1]
        trained = disk.part(log.items, rows)[training(offsets, positions.train_end[users])]
        counts += np.bincount(trained, minlength=len(counts))
    return counts


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


def training(offsets: NDArray[np.int64], train_end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which interactions are training; (interactions,)."""
    runs = np.stack([train_end - offsets[:-1], offsets[1:] - train_end], axis=1)
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
        "users": [],
    }
    before, users, after = json.dumps(about, sort_keys=True).rpartition('"users": [')
    hashed = hashlib.sha256((before + users).encode())
    for rows in disk.slices(len(asked)):  # all of the names at once would need much memory
        names = json.dumps(log.user_ids.take(pa.array(asked[rows])).to_pylist())[1:-1]
        hashed.update((", " * (rows.start > 0) + names).encode())
    hashed.update(after.encode())
    for array, kind in (
        (items, "<i4"),
        (log.times, "<i8"),
        (log.offsets, "<i8"),
        (positions.train_end, "<i8"),
        (positions.validation, "<i8"),
        (positions.test, "<i8"),
    ):
        for rows in disk.slices(len(array)):
            hashed.update(np.ascontiguousarray(disk.part(array, rows), kind).data)
    return hashed.hexdigest()


def repeated(log: Log, targets: NDArray[np.int64]) -> int:
    """How many targets are items of the user's history."""
    found = 0
    for users, rows in disk.by_users(log.offsets):
        items, asked = disk.part(log.items, rows), targets[users] >= 0
        at = np.where(asked, targets[users] - rows.start, 0)
        lengths = np.diff(log.offsets[users.start : users.stop + 1])
        same = items == np.repeat(items[at], lengths)
        before = np.arange(len(items)) < np.repeat(at, lengths)
        found += int(np.count_nonzero(counted(same & before, log.offsets, users)))
    return found
