"""Where rollbacks lead, by the log alone; the commands are tested in test_promote.py."""

from recctl.promotion.ledger.log import Entry, canonical, digest
from recctl.promotion.rollback import champions


def entry(position: int, kind: str, champion: int, best: int | None = None) -> Entry:
    body = canonical({"kind": kind, "sets": {"champion": champion, "previous": None, "best": best}})
    return Entry(position, body, digest(body), "done")


def stack(*moves: tuple[str, int]) -> list[int | None]:
    entries = [entry(i, kind, champion) for i, (kind, champion) in enumerate(moves, start=1)]
    return [champion for champion, _ in champions(entries)]


def test_promotions_lie_on_each_other() -> None:
    assert stack(("promotion", 1), ("promotion", 2), ("promotion", 5)) == [1, 2, 5]


def test_a_rollback_takes_off_what_lies_above_its_target() -> None:
    before = (("promotion", 1), ("promotion", 2), ("promotion", 3))
    assert stack(*before, ("rollback", 2)) == [1, 2]
    assert stack(*before, ("rollback", 1)) == [1]
    assert stack(*before, ("recovery", 2)) == [1, 2]


def test_a_rollback_to_what_never_served_lies_on_top() -> None:
    assert stack(("promotion", 1), ("rollback", 7)) == [1, 7]


def test_a_version_that_served_twice() -> None:
    """1, 2, then 1 by force, then 3: back from 3 it is the second 1, and before that 2."""
    moves = (("promotion", 1), ("promotion", 2), ("promotion", 1), ("promotion", 3))
    assert stack(*moves, ("rollback", 1)) == [1, 2, 1]


def test_the_best_version_is_that_of_the_time() -> None:
    entries = [entry(1, "promotion", 1, best=1), entry(2, "promotion", 2, best=1)]
    assert champions(entries) == [(1, 1), (2, 1)]


def test_what_was_undone_never_served() -> None:
    first, second = entry(1, "promotion", 1), entry(2, "promotion", 2)
    undone = Entry(second.position, second.body, second.claimed, "undone")
    assert champions([first, undone]) == [(1, None)]
