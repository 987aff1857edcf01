"""Small logs, split as the stage splits them and written as the stage writes them."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from recctl.files import write_json
from recctl.sequences import split as splitting
from recctl.sequences.encode import encode
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.store import SequenceData
from recctl.stages import sequence_split

NOON = 1_700_000_000_000_000
"""A real time, in microseconds: 2023-11-14."""


class Event(NamedTuple):
    """One interaction; two with the same user, item and time are one, as ingest sees to."""

    user: str
    item: str
    time: int


def log(text: str, since: int = NOON, step: int = 1_000_000) -> list[Event]:
    """Events from text like `u: a b c, v: b a`, one second apart.

    >>> log("u: a b, v: c", since=0, step=1)
    [Event(user='u', item='a', time=0), Event(user='u', item='b', time=1), Event(user='v', item='c', time=2)]
    """  # noqa: E501
    pairs = [
        (user.strip(), item)
        for user, _, items in (part.partition(":") for part in text.split(","))
        for item in items.split()
    ]
    return [Event(user, item, since + n * step) for n, (user, item) in enumerate(pairs)]


def split(
    folder: Path, events: list[Event], protocol: str = "leave-one-out", **settings: object
) -> SequenceData:
    """What sequence-split makes of events; the place in the list is the row."""
    given = {"minimum_user_interactions": 1, **settings, "protocol": protocol}
    params = SequenceSplitParams.model_validate(given)
    counts = Counter(event.user for event in events)
    kept = [
        (row, event)
        for row, event in enumerate(events)
        if counts[event.user] >= params.minimum_user_interactions
    ]
    table = pa.table(
        {
            "user_id": pa.array([event.user for _, event in kept], pa.string()),
            "item_id": pa.array([event.item for _, event in kept], pa.string()),
            "timestamp": pa.array([event.time for _, event in kept], pa.timestamp("us", "UTC")),
            "row": pa.array([row for row, _ in kept], pa.int64()),
        }
    )
    order = [(name, "ascending") for name in ("user_id", "timestamp", "row")]
    found = splitting.split(encode(table.sort_by(order).to_batches(), params), params, {})
    folder.mkdir(parents=True, exist_ok=True)
    sequence_split.write(found, folder)
    write_json(folder / "report.json", {"fingerprint": found.fingerprint})
    return SequenceData.load(folder)


def in_order(data: SequenceData, events: list[Event]) -> list[Event]:
    """The events in the places of data.items: by user, time, row; those of the core alone."""
    users = set(data.user_ids)
    rows = [(event.user.encode(), event.time, row, event) for row, event in enumerate(events)]
    return [event for *_, event in sorted(rows) if event.user in users]


def training(data: SequenceData, events: list[Event]) -> set[Event]:
    """The events that are training interactions."""
    ordered = in_order(data, events)
    assert len(ordered) == len(data.items)
    bounds = zip(data.offsets[:-1].tolist(), data.train_end.tolist(), strict=True)
    return {event for start, end in bounds for event in ordered[start:end]}


def targets(data: SequenceData, events: list[Event]) -> list[Event]:
    """The test targets, in the order of data.cases("test")."""
    ordered = in_order(data, events)
    return [ordered[at] for at in data.test.tolist() if at >= 0]
