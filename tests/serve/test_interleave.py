"""Team-draft interleaving, with every outcome of its coins."""

from collections import Counter
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recctl.serve.interleave import team_draft


class Coins:
    """Gives outcomes that are known; tails when they are used up."""

    def __init__(self, outcomes: tuple[int, ...]) -> None:
        self._left = list(outcomes)

    def getrandbits(self, bits: int) -> int:
        assert bits == 1
        return self._left.pop(0) if self._left else 0


def drafts(one: list[str], two: list[str], k: int) -> Counter[tuple[Any, ...]]:
    """Every draft, with the number of coin sequences that lead to it."""
    found = (team_draft(one, two, k, Coins(coins)) for coins in product((0, 1), repeat=4))  # type: ignore[arg-type]
    return Counter(map(tuple, found))


lists = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6)


@given(lists, lists, st.integers(1, 7))
def test_neither_list_has_an_advantage(one: list[str], two: list[str], k: int) -> None:
    flipped = {None: None, 0: 1, 1: 0}
    mirrored: Counter[tuple[Any, ...]] = Counter()
    for draft, count in drafts(two, one, k).items():
        mirrored[tuple((item, flipped[team]) for item, team in draft)] += count
    assert drafts(one, two, k) == mirrored


@given(lists, lists, st.integers(1, 7))
def test_each_gives_its_best_item_that_is_left_in_turn(
    one: list[str], two: list[str], k: int
) -> None:
    same = next((at for at in range(7) if one[at : at + 1] != two[at : at + 1]), 7)
    for draft in drafts(one, two, k):
        items = [item for item, _ in draft]
        assert len(items) == len({*items}) == min(k, len({*one, *two}))
        given_by = {0: 0, 1: 0}
        for place, (item, team) in enumerate(draft):
            rest = [[each for each in own if each not in items[:place]] for own in (one, two)]
            if place < min(same, len(one)):
                assert (item, team) == (one[place], None)
                continue
            assert team is not None
            assert item == rest[team][0]
            given_by[team] += 1
            if all(rest):  # else the other one fills the list up
                assert abs(given_by[0] - given_by[1]) <= 1
