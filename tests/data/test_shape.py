"""The shape of a log, by hand and against a plain loop."""

from collections import Counter

import ibis
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.data.shape import LogShape, measure


def measured(pairs: list[tuple[int, int]]) -> LogShape:
    frame = pd.DataFrame(pairs, columns=["user_id", "item_id"]).astype(str)
    return measure(ibis.memtable(frame))


def plain(pairs: list[tuple[int, int]]) -> tuple[int, int, int]:
    """Users, items and interactions after three rounds of dropping what occurs under five times."""
    for _ in range(3):
        for side in (1, 0):
            counts = Counter(pair[side] for pair in pairs)
            pairs = [pair for pair in pairs if counts[pair[side]] >= 5]
    return len({user for user, _ in pairs}), len({item for _, item in pairs}), len(pairs)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), min_size=1, max_size=150))
def test_counts_are_those_of_a_plain_loop(pairs: list[tuple[int, int]]) -> None:
    found = measured(pairs)
    assert (found.users, found.items, found.interactions) == plain(pairs)
    assert found.catalogue == len({item for _, item in pairs})


def test_one_history_in_ten_is_long() -> None:
    lengths = [5] * 89 + [40] * 11
    found = measured([(user, item % 5) for user, n in enumerate(lengths) for item in range(n)])
    assert found.long == 40
    assert found.per_user == found.interactions / 100
    assert found.per_item == found.interactions / 5


def test_a_log_of_rare_users_and_items_has_no_shape() -> None:
    found = measured([(1, 1), (2, 2)])
    assert found == LogShape(users=0, items=0, interactions=0, long=0, catalogue=2)
    assert found.per_user == found.per_item == 0
