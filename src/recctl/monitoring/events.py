"""The events after a moment, each with the history that its user had by then."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data import engine
from recctl.files import require_columns
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import COLD, Vocabulary

MICROSECONDS_A_DAY = 86_400_000_000
_COLUMNS = ("user_id", "item_id", "timestamp", "row")

_QUERY = """
WITH
    recent AS (
        SELECT DISTINCT user_id FROM read_parquet($path) WHERE epoch_us(timestamp) > $since
    ),
    watched AS (SELECT user_id, row_number() OVER (ORDER BY user_id) - 1 AS user_index FROM recent)
SELECT
    user_index,
    coalesce(vocabulary.item_index, $cold) AS item_index,
    epoch_us(timestamp) AS time
FROM read_parquet($path)
JOIN watched USING (user_id)
LEFT JOIN vocabulary USING (item_id)
ORDER BY user_index, time, row
"""


@dataclass(frozen=True)
class Events:
    """Interactions after a moment, in the order of (user, time, row)."""

    cases: Cases
    """A case per event: the items of its user before it that the model knows, the item taken."""
    times: NDArray[np.int64]
    """Microseconds since 1970-01-01 UTC; (events,)"""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def days(self) -> NDArray[np.int64]:
        """Days since 1970-01-01 UTC; (events,)"""
        return self.times // MICROSECONDS_A_DAY

    def select(self, rows: NDArray[np.int64]) -> "Events":
        """Some of the events."""
        cases = self.cases
        return Events(
            Cases(cases.users[rows], cases.histories.select(rows), cases.targets[rows]),
            self.times[rows],
        )


def read(path: Path, vocabulary: Vocabulary, since: int, state: Path) -> Events:
    """The events of interactions.parquet after `since` (microseconds), which itself is before.

    Only users who have such an event are loaded. Users are numbered in the order of their ids;
    items as the vocabulary has them. Raises UserError where the file is missing or damaged.
    """
    require_columns(path, "ingest", _COLUMNS)
    known = pa.table(
        {
            "item_id": pa.array(vocabulary.items, pa.string()),
            "item_index": pa.array(np.arange(vocabulary.size, dtype=np.int32)),
        }
    )
    values = {"path": str(path), "since": since, "cold": COLD}
    with engine.duckdb(state) as connection, engine.reading(path, "ingest"):
        connection.con.register("vocabulary", known)
        found = connection.con.sql(_QUERY, params=values).to_arrow_table()
    return build(
        _numbers(found, "user_index", np.int64),
        _numbers(found, "item_index", np.int32),
        _numbers(found, "time", np.int64),
        since,
    )


def build(
    users: NDArray[np.int64], items: NDArray[np.int32], times: NDArray[np.int64], since: int
) -> Events:
    """The events among all interactions of some users, given in the order of (user, time, row).

    users 0, 1, 2, ... in blocks; (interactions,) each.
    """
    at = np.flatnonzero(times > since)
    first = np.flatnonzero(np.diff(users, prepend=-1))
    starts = first[users[at]]
    histories = Histories(items, starts, at).without_cold()
    return Events(Cases(users[at], histories, items[at]), times[at])


def by_day(events: Events) -> dict[int, NDArray[np.int64]]:
    """The places of each day's events, days ascending."""
    days = events.days
    order = np.argsort(days, kind="stable")
    numbers, first = np.unique(days[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=False))


def _numbers(table: pa.Table, name: str, kind: Any) -> NDArray[Any]:
    column: NDArray[Any] = table[name].to_numpy()
    return column.astype(kind)
