"""Histories as flat arrays: a batch is slices of one array, not a list of lists."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recctl.files import damaged, missing, read_json, read_table
from recctl.sequences.vocabulary import COLD, Vocabulary

Part = Literal["validation", "test"]

SEVERAL = ("successive", "all")
"""Kinds of `SequenceData.targets` with several test targets of a user."""
_VALIDATED = 10_000
_FIRST_REAL_TIME = 10**12
"""Microseconds, 11.6 days after 1970: if all times are before it they are row numbers."""


@dataclass(frozen=True)
class Histories:
    """Sequences of item indices in time order: sequence i is items[starts[i]:ends[i]].

    >>> histories = Histories.of([[4, 2], [7]])
    >>> histories[1], len(histories), histories.lengths
    (array([7], dtype=int32), 2, array([2, 1]))
    """

    items: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    times: NDArray[np.int64] | None = None
    """The time of each of `items`, microseconds since 1970-01-01 UTC; None if unknown."""

    @classmethod
    def of(cls, lists: list[list[int]]) -> "Histories":
        """From plain lists, for tests and small requests."""
        ends = np.cumsum([len(items) for items in lists], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if lists else ends
        flat = [item for items in lists for item in items]
        return cls(np.array(flat, dtype=np.int32), starts, ends)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> NDArray[np.int32]:
        return self.items[self.starts[i] : self.ends[i]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.ends - self.starts

    def select(self, rows: NDArray[np.int64] | slice) -> "Histories":
        """Some of the sequences, sharing the items."""
        return Histories(self.items, self.starts[rows], self.ends[rows], self.times)

    def shuffled(self, rng: np.random.Generator) -> "Histories":
        """The same sequences with the items of each in random order, without times."""
        rows, items = self.flat()
        order = np.lexsort((rng.random(len(rows)), rows))
        ends = np.cumsum(self.lengths, dtype=np.int64)
        return Histories(items[order], ends - self.lengths, ends)

    def without_cold(self) -> "Histories":
        """The same sequences without cold items, which serving drops too."""
        known = self.items != COLD
        if known.all():
            return self
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(known, dtype=np.int64)])
        times = None if self.times is None else self.times[known]
        return Histories(self.items[known], before[self.starts], before[self.ends], times)

    def flat(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """All (row, item) pairs: the row of each item and the item."""
        rows, at = self.positions()
        return rows, self.items[at]

    def positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row of each item, and its index in `items` and `times`."""
        lengths = self.lengths
        rows = np.repeat(np.arange(len(self)), lengths)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return rows, self.starts[rows] + within


@dataclass(frozen=True)
class Cases:
    """Test (or validation) cases: a history and a target, users in ascending order."""

    users: NDArray[np.int64]
    """user_index of each case."""
    histories: Histories
    """The model's input, without cold items."""
    targets: NDArray[np.int32]
    """item_index of each target, COLD for an item that training never saw."""

    def __len__(self) -> int:
        return len(self.users)

    def select(self, rows: NDArray[np.int64]) -> "Cases":
        """Some of the cases."""
        return Cases(self.users[rows], self.histories.select(rows), self.targets[rows])

    def sample(self, most: int) -> "Cases":
        """So many of the cases at most, the same each time."""
        if len(self) <= most:
            return self
        rows = np.random.default_rng(0).choice(len(self), most, replace=False)
        return self.select(np.sort(rows))

    @property
    def n_users(self) -> int:
        return len(np.unique(self.users))

    def per_user(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean of (cases,) values over each user's cases; (n_users,).

        >>> cases = Cases(np.array([4, 4, 7]), Histories.of([[1], [2], [3]]), np.array([2, 3, 1]))
        >>> cases.per_user(np.array([1.0, 0.5, 0.25]))
        array([0.75, 0.25])
        """
        _, place, sizes = np.unique(self.users, return_inverse=True, return_counts=True)
        if len(sizes) == len(values):
            return values
        return np.asarray(np.bincount(place, values) / sizes)


@dataclass(frozen=True)
class SequenceData:
    """What sequence-split wrote: every user's items in time order, and three positions per user.

    A user's training sequence is items[offsets[u]:train_end[u]]. `validation[u]` and `test[u]`
    are the absolute positions of the targets, -1 for none; the history of a target is everything
    before it in the user's sequence. Where `targets` says so, every interaction from test[u] on is
    a target, and its history is everything before it (`successive`) or before test[u] (`all`).
    """

    folder: Path
    items: NDArray[np.int32]
    """item_index of every interaction, COLD for items that training never saw; (interactions,)"""
    times: NDArray[np.int64]
    """Microseconds since 1970-01-01 UTC; (interactions,)"""
    offsets: NDArray[np.int64]
    """Where each user begins, and the end; (users + 1,)"""
    train_end: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def load(cls, folder: Path) -> "SequenceData":
        """Memory-map the arrays of a folder; UserError when one is missing, damaged or misfit."""
        names = ("items", "times", "offsets", "train_end", "validation", "test")
        data = cls(folder, *(_open(folder / f"{name}.npy") for name in names))
        misfit = _misfit(data)
        if misfit is not None:
            reason = "it does not fit the arrays beside it"
            raise damaged(folder / f"{misfit}.npy", "sequence-split", reason)
        return data

    @cached_property
    def vocabulary(self) -> Vocabulary:
        path = self.folder / "vocabulary.json"
        vocabulary = Vocabulary.load(path)
        if self.items.max(initial=COLD) >= vocabulary.size:
            raise damaged(path, "sequence-split", "it lacks items of items.npy")
        return vocabulary

    @cached_property
    def _cold(self) -> tuple[NDArray[np.int64], list[str], dict[str, str]]:
        """Positions of interactions with cold items, the id of each, and titles."""
        path = self.folder / "cold.parquet"
        if not path.is_file():  # sequences of before it was kept
            return np.empty(0, np.int64), [], {}
        table = read_table(path, "sequence-split", ["position", "item_id", "title"])
        at = table["position"].to_numpy()
        if len(at) and not (at.min() >= 0 and at.max() < len(self.items)):
            raise damaged(path, "sequence-split", "it does not fit the arrays beside it")
        ids = table["item_id"].to_pylist()
        titles = zip(ids, table["title"].to_pylist(), strict=True)
        return at, ids, {item: title for item, title in titles if title is not None}

    @cached_property
    def cold_titles(self) -> dict[str, str]:
        """Titles of cold items, by id."""
        return self._cold[2]

    @cached_property
    def all_ids(self) -> tuple[str, ...]:
        """The vocabulary's items, then the cold ones in byte order."""
        return (*self.vocabulary.items, *sorted(set(self._cold[1])))

    @cached_property
    def all_items(self) -> NDArray[np.int32]:
        """`items` where a cold one has its place in `all_ids`; COLD if its id was not kept."""
        at, ids, _ = self._cold
        if not len(at):
            return self.items
        places = {item: place for place, item in enumerate(self.all_ids)}
        items = np.array(self.items)
        items[at] = [places[item] for item in ids]
        return items

    @cached_property
    def user_ids(self) -> list[str]:
        """External user ids in the order of user_index."""
        path = self.folder / "users.parquet"
        ids: list[str] = read_table(path, "sequence-split", ["user_id"])["user_id"].to_pylist()
        if len(ids) != len(self.offsets) - 1:
            raise damaged(path, "sequence-split", f"it names {len(ids)} users")
        return ids

    @property
    def fingerprint(self) -> str:
        """The split's fingerprint, from its report."""
        return str(self.report["fingerprint"])

    @cached_property
    def report(self) -> dict[str, Any]:
        """What sequence-split reported."""
        report = read_json(self.folder / "report.json", "sequence-split", ["fingerprint"])
        return dict(report)

    @cached_property
    def real_times(self) -> bool:
        """Whether times are real; a log of the format `sequences` has row numbers instead.

        A log whose times are all within days of 1970 counts as one without.
        """
        if len(self.times) == 0:
            return False
        earliest, latest = int(np.min(self.times)), int(np.max(self.times))
        return earliest < 0 or latest >= _FIRST_REAL_TIME

    @property
    def until(self) -> str | None:
        """The newest interaction's time, ISO 8601, UTC; None if times are not real."""
        if not self.real_times:
            return None
        seconds = int(np.max(self.times)) // 10**6
        return datetime.fromtimestamp(seconds, UTC).isoformat()

    def train(self) -> Histories:
        """The training sequences without empty ones; with times if they are real."""
        kept = self.train_end > self.offsets[:-1]
        times = self.times if self.real_times else None
        return Histories(self.items, self.offsets[:-1][kept], self.train_end[kept], times)

    @property
    def targets(self) -> str:
        """Which interactions after the test cut are targets; `first` in older sequences."""
        return str(self.report.get("targets", "first"))

    def held_out(
        self, part: Part
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of each target of a part: user_index, its position in `items`, the end of its history."""
        positions = self.validation if part == "validation" else self.test
        users = np.flatnonzero(positions >= 0)
        first = np.asarray(positions[users])
        if part == "validation" or self.targets not in SEVERAL:
            return users, first, first
        rows, at = Histories(self.items, first, np.asarray(self.offsets[users + 1])).positions()
        return users[rows], at, at if self.targets == "successive" else first[rows]

    def cases(self, part: Part) -> Cases:
        """The cases of a part, in the order of user_index and time."""
        users, at, ends = self.held_out(part)
        histories = Histories(self.items, np.asarray(self.offsets[users]), ends)
        return Cases(users, histories.without_cold(), np.asarray(self.items[at]))

    def validation_sample(self) -> Cases:
        """The validation cases, or 10,000 of them: that bounds the time of a validation."""
        return self.cases("validation").sample(_VALIDATED)

    def tied(self) -> NDArray[np.bool_]:
        """Whether another interaction of the user has the time of the test target; (cases,)."""
        users, at, _ = self.held_out("test")
        times, last = self.times, len(self.times) - 1
        before = (at > self.offsets[users]) & (times[np.maximum(at - 1, 0)] == times[at])
        after = (at + 1 < self.offsets[users + 1]) & (times[np.minimum(at + 1, last)] == times[at])
        return np.asarray(before | after)


def _open(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, IsADirectoryError):
        raise missing(path, "sequence-split") from None
    except (ValueError, EOFError) as error:
        # numpy reports a pickle where a file is not an array.
        reason = "not an array" if "pickle" in str(error) else str(error)
        raise damaged(path, "sequence-split", reason) from None


def _misfit(data: SequenceData) -> str | None:
    """The name of an array whose type, size or values do not fit the others; None if all fit."""
    users, interactions = data.train_end.size, data.items.size
    sizes = {
        "items": interactions,
        "times": interactions,
        "offsets": users + 1,
        "train_end": users,
        "validation": users,
        "test": users,
    }
    for name, size in sizes.items():
        array = getattr(data, name)
        if array.dtype.kind != "i" or array.shape != (size,):
            return name
    first, end = data.offsets[:-1], data.offsets[1:]
    if data.offsets[0] != 0 or data.offsets[-1] != interactions or np.any(end < first):
        return "offsets"
    if data.items.min(initial=COLD) < COLD:
        return "items"
    if np.any((data.train_end < first) | (data.train_end > end)):
        return "train_end"
    for name in ("validation", "test"):
        at = getattr(data, name)
        if np.any((at >= 0) & ((at < first) | (at >= end))):
            return name
    return None
