"""The shape of a log: how long its histories are, and how often its items occur."""

from dataclasses import dataclass
from typing import Any

import ibis.expr.types as ir

from recctl.data import engine

_MINIMUM = 5
_ROUNDS = 3
"""Removing rare users makes items rare, and so on; after this many rounds little changes."""


@dataclass(frozen=True)
class LogShape:
    """Counts over the users and items that occur five times or more."""

    users: int
    items: int
    interactions: int
    long: int
    """Nine users in ten have a history of at most this length."""
    catalogue: int
    """All items, rare ones too."""

    @property
    def per_user(self) -> float:
        return self.interactions / max(self.users, 1)

    @property
    def per_item(self) -> float:
        return self.interactions / max(self.items, 1)


def measure(rows: ir.Table) -> LogShape:
    """The shape of rows with `user_id` and `item_id`."""
    kept = rows.select("user_id", "item_id")
    catalogue: Any = rows.agg(catalogue=rows.item_id.nunique())
    for _ in range(_ROUNDS):
        kept = _enough(_enough(kept, "item_id", _MINIMUM), "user_id", _MINIMUM)
    lengths = kept.group_by("user_id").agg(n=kept.count())
    counts: Any = kept.agg(interactions=kept.count(), items=kept.item_id.nunique())
    histories: Any = lengths.agg(users=lengths.count(), long=lengths.n.quantile(0.9))
    found = {**engine.row(counts), **engine.row(histories), **engine.row(catalogue)}
    return LogShape(**{name: int(value or 0) for name, value in found.items()})


def _enough(table: ir.Table, column: str, minimum: int) -> ir.Table:
    """The rows whose value in the column occurs in at least so many rows."""
    if minimum <= 1:
        return table
    counts = table.group_by(column).agg(n=table.count())
    return table.semi_join(counts.filter(counts.n >= minimum), column)
