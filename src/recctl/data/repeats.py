"""Interactions with items that the user had before, and how many targets a seen filter hides."""

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from recctl.data.parts import by_users

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
    sums = zip(*map(_sums, by_users(rows)), strict=True)
    interactions, pairs, targets, hidden = map(sum, sums)
    return Repeats(interactions, interactions - pairs, targets, hidden)


def _sums(rows: ir.Table) -> list[int]:
    """Interactions, pairs of a user and an item, targets, and those that are hidden."""
    place = ibis.struct({"time": rows.time, "row": rows.row})
    pairs = rows.group_by("user_id", "item_id").agg(
        times=rows.time.nunique(), time=rows.time.max(), row=rows.row.argmax(place)
    )
    place = ibis.struct({"time": pairs.time, "row": pairs.row})
    users = pairs.group_by("user_id").agg(
        interactions=pairs.times.sum(), pairs=pairs.count(), again=(pairs.times > 1).argmax(place)
    )
    target = users.interactions > 1
    counted = users.agg(
        interactions=users.interactions.sum(),
        pairs=users.pairs.sum(),
        targets=target.sum(),
        hidden=(target & users.again).sum(),
    )
    # not engine.row: the stage evaluate uses this module and no engine
    [row] = counted.to_pyarrow().to_pylist()
    return [int(value or 0) for value in row.values()]
