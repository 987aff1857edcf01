"""Small logs, and the split done again in plain Python, list by list."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from recctl.sequences import split as splitting
from recctl.sequences.encode import Log, encode
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.split import Split
from recctl.sequences.store import SequenceData
from recctl.sequences.vocabulary import COLD

Row = tuple[str, str, int]
"""User, item, microseconds; a row's place in the list is its number."""


def table(rows: list[Row], order: list[int] | None = None) -> pa.Table:
    """Rows as ingest's table, in the order given."""
    places = order if order is not None else list(range(len(rows)))
    columns = {
        "user_id": pa.array([rows[n][0] for n in places], pa.string()),
        "item_id": pa.array([rows[n][1] for n in places], pa.string()),
        "timestamp": pa.array([rows[n][2] for n in places], pa.timestamp("us", "UTC")),
        "row": pa.array(places, pa.int64()),
    }
    return pa.table(columns)


def ordered(table: pa.Table, rows: int) -> list[pa.RecordBatch]:
    """The batches that `encode` takes."""
    keys = [(name, "ascending") for name in ("user_id", "timestamp", "row")]
    return list(table.sort_by(keys).to_batches(max_chunksize=rows))


def encoded(rows: list[Row], params: SequenceSplitParams, order: list[int] | None = None) -> Log:
    """The rows of the core as arrays, three rows at a time."""
    return encode(ordered(table(rows, order), 3), params)


def split(rows: list[Row], order: list[int] | None = None, **settings: Any) -> Split:
    """The split of a few rows; every user and item counts unless a parameter says otherwise."""
    params = SequenceSplitParams(**{"minimum_user_interactions": 1, **settings})
    return splitting.split(encoded(rows, params, order), params, {})


def core_of(rows: list[tuple[int, Row]], by_user: int, by_item: int) -> list[tuple[int, Row]]:
    """Drop what is too rare until nothing is."""
    while True:
        users = Counter(row[0] for _, row in rows)
        items = Counter(row[1] for _, row in rows)
        left = [r for r in rows if users[r[1][0]] >= by_user and items[r[1][1]] >= by_item]
        if left == rows:
            return rows
        rows = left


@dataclass
class Expected:
    """What one user's part of a split should be."""

    user: str
    training: list[str]
    validation: tuple[list[str], str] | None
    """The history and the target."""
    test: list[tuple[list[str], str]]


def expected(rows: list[Row], params: SequenceSplitParams, cuts: tuple[int, int]) -> list[Expected]:
    """The split in plain Python; `cuts` is where validation and test begin for global-time."""
    core = core_of(
        list(enumerate(rows)), params.minimum_user_interactions, params.minimum_item_interactions
    )
    users = sorted({row[0] for _, row in core}, key=str.encode)
    histories = {
        user: sorted((row[2], n, row[1]) for n, row in core if row[0] == user) for user in users
    }
    if params.protocol == "leave-one-out":
        return [_leave_one_out(user, history) for user, history in histories.items()]
    return [
        _global_time(user, history, cuts, params.targets) for user, history in histories.items()
    ]


def _leave_one_out(user: str, history: list[tuple[int, int, str]]) -> Expected:
    items = [item for _, _, item in history]
    if len(items) < 3:
        return Expected(user, items, None, [])
    return Expected(user, items[:-2], (items[:-2], items[-2]), [(items[:-1], items[-1])])


def _global_time(
    user: str, history: list[tuple[int, int, str]], cuts: tuple[int, int], kind: str
) -> Expected:
    training = [item for time, _, item in history if time < cuts[0]]
    known = [item for time, _, item in history if time < cuts[1]]
    every = [item for _, _, item in history]
    later = range(len(known), len(every))
    grown = [(every[:at], every[at]) for at in later]
    test = {
        "first": grown[:1],
        "last": grown[-1:],
        "successive": grown,
        "all": [(known, every[at]) for at in later],
    }[kind]
    between = range(len(training), len(known))
    chosen = [*between[-1:]] if kind in ("last", "successive") else [*between[:1]]
    validation = [(known[:at], known[at]) for at in chosen if at > 0]
    return Expected(
        user,
        training,
        validation[0] if validation else None,
        [(before, target) for before, target in test if before],
    )


def found(made: Split, kind: str = "first") -> list[Expected]:
    """A split's arrays as lists of item ids; a cold item's id is `COLD`."""
    store = SequenceData(
        Path(),
        made.items,
        made.times,
        made.offsets,
        made.positions.train_end,
        made.positions.validation,
        made.positions.test,
    )
    store.__dict__["report"] = {"targets": kind}  # instead of reading one
    tested = list(zip(*store.held_out("test"), strict=True))
    names = [*made.vocabulary.items, COLD]
    items = [names[index] for index in made.items]
    positions = made.positions
    result = []
    for u, user in enumerate(made.user_ids.to_pylist()):
        start = int(made.offsets[u])
        result.append(
            Expected(
                user,
                items[start : positions.train_end[u]],
                _case(items, start, int(positions.validation[u])),
                [
                    (items[start : int(end)], items[int(at)])
                    for tested_user, at, end in tested
                    if tested_user == u
                ],
            )
        )
    return result


def _case(items: list[str], start: int, at: int) -> tuple[list[str], str] | None:
    return None if at < 0 else (items[start:at], items[at])


def cold_hidden(parts: list[Expected]) -> list[Expected]:
    """The same with items outside of training replaced, as `found` shows them."""
    trained = {item for part in parts for item in part.training}

    def hide(item: str) -> Any:
        return item if item in trained else COLD

    def case(one: tuple[list[str], str] | None) -> tuple[list[str], str] | None:
        return one and ([hide(item) for item in one[0]], hide(one[1]))

    def cases(many: list[tuple[list[str], str]]) -> list[Any]:
        return [case(one) for one in many]

    return [Expected(p.user, p.training, case(p.validation), cases(p.test)) for p in parts]
