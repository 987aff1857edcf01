"""Which of today's test targets a model may have been trained on.

Every version carries a record of its training: for each user how many interactions, hashes of them
in their order (with times and without), the time of the last one and a hash of those at that
time. From these it is decided, for any later state of the log and any split, whether training held
a target; where it is not known the answer is yes. docs/decisions/0004-leaks.md has the reasoning.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from recctl.errors import UserError
from recctl.files import replacing, write_json
from recctl.sequences.store import SequenceData

TENSORS = "training_record.safetensors"
ABOUT = "training_record.json"
SCHEMA = 1

_TYPES = {
    "users": np.uint64,
    "counts": np.int32,
    "items": np.uint64,
    "events": np.uint64,
    "last_times": np.int64,
    "tail_counts": np.int32,
    "tails": np.uint64,
}
_STEP = np.uint64(0x9E3779B97F4A7C15)
"""An odd number: products with it differ for all 2^64 numbers (splitmix64's own)."""
_COLD_HASH = np.uint64(0)
"""An item without an external id: no hash of an id, so its user's sequence fits no record."""
_BLOCK = 2**21
"""Interactions hashed at a time: some 100 MiB of temporary arrays."""


@dataclass(frozen=True)
class TrainingRecord:
    """What a model was trained on, by hashes; one row per user with a training interaction."""

    users: NDArray[np.uint64]
    """blake2b of the external user id, ascending; (users,)"""
    counts: NDArray[np.int32]
    """Training interactions; (users,)"""
    items: NDArray[np.uint64]
    """Hash of the training items in their order; (users,)"""
    events: NDArray[np.uint64]
    """The same with each interaction's time; (users,)"""
    last_times: NDArray[np.int64]
    """Time of the last training interaction in microseconds since 1970; (users,)"""
    tail_counts: NDArray[np.int32]
    """Training interactions at that time; (users,)"""
    tails: NDArray[np.uint64]
    """Hash of those in their order; (users,)"""
    about: dict[str, Any]
    """split_fingerprint, real_times, log_end and the lineage given."""

    @classmethod
    def of(cls, data: SequenceData, lineage: dict[str, Any]) -> "TrainingRecord":
        """The record of a model that is trained on the training part of `data`."""
        starts, ends = np.asarray(data.offsets[:-1]), np.asarray(data.train_end)
        trained = np.flatnonzero(ends > starts)
        users = user_hashes([data.user_ids[user] for user in trained])
        rows = trained[np.argsort(users, kind="stable")]
        starts, ends = starts[rows], ends[rows]
        last_times = np.asarray(data.times[ends - 1], np.int64)
        tails = _first_at(data.times, starts, ends, last_times)
        items, events = _sequence_hashes(data, starts, ends - starts)
        return cls(
            users=np.sort(users),
            counts=(ends - starts).astype(np.int32),
            items=items,
            events=events,
            last_times=last_times,
            tail_counts=(ends - tails).astype(np.int32),
            tails=_sequence_hashes(data, tails, ends - tails)[1],
            about={
                "schema": SCHEMA,
                "users": len(rows),
                "interactions": int((ends - starts).sum()),
                "split_fingerprint": data.fingerprint,
                "real_times": data.real_times,
                "log_end": int(np.max(data.times)) if len(data.times) else None,
                "lineage": lineage,
            },
        )

    @property
    def log_end(self) -> int:
        """The newest time, in microseconds, of the log that training was a part of.

        Versions registered before it was recorded know the end of the training part alone.
        """
        end = self.about.get("log_end")
        return end if isinstance(end, int) else int(self.last_times.max())

    def save(self, folder: Path) -> None:
        """Write both files; the same record gives the same bytes."""
        with replacing(folder / TENSORS) as temporary:
            temporary.write_bytes(save({name: getattr(self, name) for name in _TYPES}))
        write_json(folder / ABOUT, self.about)

    @classmethod
    def load(cls, folder: Path) -> "TrainingRecord":
        """Read what `save` wrote; UserError when a file is missing or damaged."""
        path = folder / TENSORS
        about = _read_about(folder / ABOUT)
        if about["schema"] != SCHEMA:
            raise UserError(
                f"{folder / ABOUT} has the schema {about['schema']!r}, known is {SCHEMA}",
                "use the recctl that registered this version, or a newer one",
            )
        if not path.is_file():
            raise _damaged(path, "it is missing")
        try:
            tensors = load_file(path)
        except (SafetensorError, json.JSONDecodeError) as error:
            raise _damaged(path, str(error).splitlines()[0]) from None
        wrong = _misfit(tensors, about["users"])
        if wrong is not None:
            raise _damaged(path, wrong)
        return cls(**{name: tensors[name] for name in _TYPES}, about=about)


def leaking(record: TrainingRecord, data: SequenceData) -> NDArray[np.bool_]:
    """Which of today's test targets the model may have been trained on; (test cases,).

    In the order of `data.cases("test")`. Never false for a target that truly was a training
    interaction, as long as an interaction keeps its time; true as well where that is not known.
    """
    users = np.flatnonzero(np.asarray(data.test) >= 0)
    targets = np.asarray(data.test[users])
    hashes = user_hashes([data.user_ids[user] for user in users])
    first = np.searchsorted(record.users, hashes, side="left")
    found = np.searchsorted(record.users, hashes, side="right") - first
    known = np.flatnonzero(found > 0)
    leaks = found > 1  # two users of one hash: which one is meant is not known
    leaks[known] |= _known_leaks(record, data, first[known], users[known], targets[known])
    return leaks


def _known_leaks(
    record: TrainingRecord,
    data: SequenceData,
    rows: NDArray[np.int64],
    users: NDArray[np.int64],
    targets: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """For users of the record: its rows, their user_index, their targets' absolute positions."""
    starts, ends = np.asarray(data.offsets[users]), np.asarray(data.offsets[users + 1])
    counts = record.counts[rows].astype(np.int64)
    items, events, there = _hashes_within(data, starts, counts, ends)
    same_items = there & (items == record.items[rows])
    same_events = same_items & (events == record.events[rows])
    trained = targets - starts < counts
    if record.about["real_times"] is not True or not data.real_times:
        return np.where(same_items, trained, True)
    by_time = _leaks_by_time(record, data, rows, starts, ends, targets)
    return np.where(same_events, trained, np.where(same_items, trained | by_time, by_time))


def _leaks_by_time(
    record: TrainingRecord,
    data: SequenceData,
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    targets: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether targets are not later than training's last interaction, equal times distinguished.

    Where today's first interactions at that time are the recorded ones, a target behind them is
    another: a basket of one time, or a log of full seconds, need not count as a leak.
    """
    last, counts = record.last_times[rows], record.tail_counts[rows].astype(np.int64)
    times = np.asarray(data.times[targets])
    tails = _first_at(data.times, starts, ends, last)
    _, events, there = _hashes_within(data, tails, counts, ends)
    behind = there & (events == record.tails[rows]) & (targets - tails >= counts)
    leaks: NDArray[np.bool_] = (times < last) | ((times == last) & ~behind)
    return leaks


def user_hashes(ids: Iterable[str]) -> NDArray[np.uint64]:
    """64-bit blake2b of each id."""
    return _hashes(ids, b"recctl-user")


def _hashes(ids: Iterable[str], person: bytes) -> NDArray[np.uint64]:
    digests = (hashlib.blake2b(one.encode(), digest_size=8, person=person) for one in ids)
    joined = b"".join(digest.digest() for digest in digests)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def _hashes_within(
    data: SequenceData,
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
    """`_sequence_hashes`, and where there are as many interactions before `ends` at all."""
    there = lengths <= ends - starts
    return *_sequence_hashes(data, starts, np.where(there, lengths, 0)), there


def _sequence_hashes(
    data: SequenceData, starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hashes of runs of interactions, without times and with; (runs,) each.

    The sum, modulo 2^64, of splitmix64(item's hash + place * odd constant): one pass without
    a loop over users, and an item at another place is another summand.
    """
    by_item = np.concatenate([_hashes(data.vocabulary.items, b"recctl-item"), [_COLD_HASH]])
    items, events = np.zeros(len(starts), np.uint64), np.zeros(len(starts), np.uint64)
    for block in _blocks(lengths):
        size = lengths[block]
        rows = np.repeat(np.arange(len(size)), size)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(size) - size, size)
        at = starts[block][rows] + within
        terms = _mixed(by_item[data.items[at]] + (within + 1).astype(np.uint64) * _STEP)
        timed = _mixed(terms ^ _mixed(np.asarray(data.times[at]).astype(np.uint64)))
        filled = size > 0
        if filled.any():
            first = (np.cumsum(size) - size)[filled]
            items[block][filled] = np.add.reduceat(terms, first)
            events[block][filled] = np.add.reduceat(timed, first)
    return items, events


def _first_at(
    times: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    wanted: NDArray[np.int64],
) -> NDArray[np.int64]:
    """In each run of ascending times the first place not before `wanted`, its end if there is none.

    A binary search in all runs at once; (runs,)
    """
    low, high = starts.copy(), ends.copy()
    while np.any(open_ := low < high):
        middle = (low + high) // 2
        earlier = open_ & (times[np.where(open_, middle, 0)] < wanted)
        low = np.where(earlier, middle + 1, low)
        high = np.where(open_ & ~earlier, middle, high)
    return low


def _blocks(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of users with some _BLOCK interactions each."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_BLOCK, total, _BLOCK), side="left") + 1
    bounds = np.unique(np.concatenate([[0], cuts, [len(lengths)]]))
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield slice(low, high)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    except (ValueError, RecursionError):
        raise _damaged(path, "not valid JSON") from None
    for key in ("schema", "users", "real_times"):
        if not isinstance(about, dict) or key not in about:
            raise _damaged(path, f"it has no '{key}'")
    return dict(about)


def _misfit(tensors: dict[str, Any], users: object) -> str | None:
    """What is wrong with the arrays of a record, None if nothing is."""
    for name, kind in _TYPES.items():
        if name not in tensors:
            return f"it has no '{name}'"
        if tensors[name].dtype != kind or tensors[name].shape != (users,):
            return f"'{name}' does not fit {ABOUT} beside it"
    if np.any(tensors["users"][1:] < tensors["users"][:-1]):
        return "its users are not in order"
    if np.any(tensors["counts"] < 1) or np.any(tensors["tail_counts"] < 1):
        return "it has users without an interaction"
    return None


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged ({reason})", "register the model again, or roll back")
