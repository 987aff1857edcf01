"""Logs as ingest leaves them, and the champion's figures by the plainest possible loops."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import tiny_project as tiny
import torch

from recctl.layout import Layout
from recctl.promotion.promote import Outcome, promote
from recctl.recommend import Served
from recctl.sequences.store import Histories


class Event(NamedTuple):
    """An event as the oracle finds it."""

    user: str
    time: int
    history: list[str]
    target: str
    """With ids, those unknown to the model too."""


def write(layout: Layout, frame: pd.DataFrame) -> None:
    """interactions.parquet of a log in the order of its rows (user_id, item_id, timestamp)."""
    ordered = frame.assign(row=range(len(frame))).sort_values(["user_id", "timestamp", "row"])
    layout.interactions.mkdir(parents=True, exist_ok=True)
    write_table(layout.interactions / "interactions.parquet", ordered)


def write_table(path: Path, ordered: pd.DataFrame) -> None:
    table = pa.table(
        {
            "user_id": pa.array(ordered["user_id"].tolist(), pa.string()),
            "item_id": pa.array(ordered["item_id"].tolist(), pa.string()),
            "timestamp": pa.array(ordered["timestamp"].tolist(), pa.timestamp("us", "UTC")),
            "weight": pa.array([1.0] * len(ordered), pa.float64()),
            "row": pa.array(ordered["row"].tolist(), pa.int64()),
        }
    )
    pq.write_table(table, path)


def frame(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """A log of (user, item, time in microseconds), in the order of its rows."""
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def promoted(layout: Layout, kind: str = "markov") -> Outcome:
    """Train on what was taken in and let it serve."""
    tiny.train(layout, kind)
    return promote(
        layout, confirm=lambda body: True, say=lambda line: None, force=True, reason="test"
    )


def events_by_loops(log: pd.DataFrame, since: int) -> list[Event]:
    """Every interaction after `since`, by (user, time, row)."""
    rows: dict[str, list[tuple[int, int, str]]] = {}
    for row, (user, item, time) in enumerate(log.itertuples(index=False)):
        rows.setdefault(user, []).append((time, row, item))
    found = []
    for user in sorted(rows, key=str.encode):
        mine = sorted(rows[user])
        items = [item for _, _, item in mine]
        for place, (time, _, item) in enumerate(mine):
            if time > since:
                found.append(Event(user, time, items[:place], item))
    return found


def rank_by_loops(served: Served, event: Event, filter_seen: bool) -> int:
    """The target's rank, counted item by item; ties count against the model."""
    index = served.vocabulary.index
    history = [index[item] for item in event.history if item in index]
    target = index.get(event.target)
    n_items = served.vocabulary.size
    if target is None or (filter_seen and target in history):
        return n_items + 1
    with torch.inference_mode():
        scores = served.model.score(Histories.of([history]))[0].tolist()
    others = [item for item in range(n_items) if item != target]
    if filter_seen:
        others = [item for item in others if item not in history]
    return 1 + sum(scores[item] >= scores[target] for item in others)


def figures_by_loops(ranks: list[int], n_items: int) -> dict[str, float]:
    """ndcg@10 and hr@10, means over the events."""
    hits = [rank for rank in ranks if rank <= min(10, n_items)]
    return {
        "ndcg@10": sum(1 / math.log2(rank + 1) for rank in hits) / len(ranks),
        "hr@10": len(hits) / len(ranks),
    }


def day_of(time: int) -> str:
    return datetime.fromtimestamp(time / 1e6, UTC).date().isoformat()


def points(history: list[Any]) -> list[tuple[int, float]]:
    """MLflow's points as (step, value), by time."""
    return [(one.step, one.value) for one in sorted(history, key=lambda one: one.timestamp)]


def quantiles(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
