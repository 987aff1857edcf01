"""A log in parts of whole users, and what is counted in parts."""

from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

from recctl.data import parts, repeats
from recctl.validation import facts


def log(rows: int = 400) -> pd.DataFrame:
    """Repeats, ties in time, and rows that differ in weight only or in nothing."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "user_id": [f"u{one}" for one in np.sort(rng.integers(0, 30, rows)).tolist()],
            "item_id": [f"i{one}" for one in rng.integers(0, 6, rows).tolist()],
            "timestamp": pd.to_datetime(rng.integers(0, 9, rows), unit="s", utc=True),
            "weight": rng.integers(1, 3, rows).astype(float),
            "row": rng.permutation(rows),
        }
    )
    return frame.sort_values(["user_id", "timestamp", "row"], ignore_index=True)


def as_rows(table: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pyarrow().to_pylist()]


@pytest.mark.parametrize("rows", [1, 7, 60, 1000])
def test_each_row_is_in_one_part_and_each_user_too(
    monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(parts, "ROWS", rows)
    table = pd.concat([log(), log(3).assign(user_id=None)])
    found = [as_rows(part) for part in parts.by_users(ibis.memtable(table))]
    everything = sorted(map(str, as_rows(ibis.memtable(table))))
    assert sorted(str(row) for part in found for row in part) == everything
    users = [{row[0] for row in part if row[0] is not None} for part in found]
    assert sum(map(len, users)) == len(set.union(*users)) == 30
    most = table.groupby("user_id").size().max()
    assert all(len(part) < rows + most for part in found[:-1])
    assert (len(found) == 1) == (rows == 1000)


def test_no_row_is_one_part() -> None:
    assert [as_rows(part) for part in parts.by_users(ibis.memtable(log(0)))] == [[]]


def counted_by_hand(table: pd.DataFrame) -> repeats.Repeats:
    """Every user's history read in its order."""
    interactions = repeated = targets = hidden = 0
    for _, history in table.sort_values(["timestamp", "row"]).groupby("user_id"):
        seen = set(zip(history.item_id, history.timestamp, strict=True))
        earlier = len(seen) - history.item_id.nunique()
        interactions, repeated = interactions + len(seen), repeated + earlier
        if len(seen) > 1:
            target = history.item_id.iloc[-1]
            targets += 1
            hidden += sum(item == target for item, _ in seen) > 1
    return repeats.Repeats(interactions, repeated, targets, hidden)


@pytest.mark.parametrize("rows", [7, 1000])
def test_what_is_counted_in_parts(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(parts, "ROWS", rows)
    table = log()
    found = repeats.count(ibis.memtable(table), "timestamp")
    assert found == counted_by_hand(table)
    assert 0 < found.hidden < found.targets
    same = table[table.duplicated(["user_id", "item_id", "timestamp", "weight"], keep=False)]
    suspects = facts.suspects(ibis.memtable(table))
    assert set(suspects["row"]) == set(same["row"])
    monkeypatch.setattr(facts, "MOST_GROUPS", 3)
    assert facts.suspects(ibis.memtable(table)).drop(columns="row").drop_duplicates().shape[0] == 3
