"""Interactions with items that the user had before, and how many targets a seen filter hides."""

from dataclasses import dataclass
from typing import Any

import ibis.expr.types as ir

MOST = 0.2
"""With a larger share of repeats, of interactions or of targets, the seen filter hides too much."""


@dataclass(frozen=True)
class Repeats:
    """How often a user came back to an item."""

    interactions: int
    """Of distinct users, items and times."""
    repeated: int
    """Those whose user had the item at an earlier time."""
    targets: int
    """Users with two or more interactions; the last one is their test target."""
    hidden: int
    """Those who had their last item before: a seen filter hides it."""

    @property
    def share(self) -> float:
        return self.repeated / max(self.interactions, 1)

    @property
    def hidden_share(self) -> float:
        return self.hidden / max(self.targets, 1)

    @property
    def many(self) -> bool:
        """Whether seen items should be recommended again."""
        return max(self.share, self.hidden_share) > MOST

    @property
    def advice(self) -> str | None:
        """The setting that such a log needs; None where seen items may be hidden."""
        return "with so many repeats set evaluate.filter_seen: false" if self.many else None

    @property
    def sentence(self) -> str:
        return (
            f"{self.share:.1%} of the interactions are with an item that the user had before, and "
            f"so is the last one of {self.hidden:,} of {self.targets:,} users "
            f"({self.hidden_share:.1%}), which a seen filter hides as a target"
        )


def count(rows: ir.Table, time: str) -> Repeats:
    """The repeats among rows with `user_id`, `item_id`, `row` and a column of times."""
    named = rows.filter(rows.user_id.notnull() & rows.item_id.notnull())
    rows = named.select("user_id", "item_id", "row", time=named[time])
    pairs = rows.group_by("user_id", "item_id").agg(times=rows.time.nunique())
    users = rows.group_by("user_id").agg(
        target=rows.item_id.last(order_by=[rows.time, rows.row]),
    )
    per_user = pairs.group_by("user_id").agg(interactions=pairs.times.sum())
    last = users.join(
        pairs, [users.user_id == pairs.user_id, users.target == pairs.item_id]
    ).select(users.user_id, pairs.times)
    tested = last.join(per_user, "user_id").filter(lambda table: table.interactions > 1)
    sums = _row(pairs.agg(interactions=pairs.times.sum(), pairs=pairs.count()))
    ends = _row(tested.agg(targets=tested.count(), hidden=(tested.times > 1).sum()))
    return Repeats(
        interactions=sums["interactions"],
        repeated=sums["interactions"] - sums["pairs"],
        targets=ends["targets"],
        hidden=ends["hidden"],
    )


def _row(table: Any) -> dict[str, int]:
    # not engine.row: the stage evaluate uses this module and no engine
    [row] = table.to_pyarrow().to_pylist()
    return {name: int(value or 0) for name, value in row.items()}
