"""Slices, cut by hand."""

import numpy as np

from recctl.evaluation.ranking import repeated_targets
from recctl.evaluation.slices import by_cold_target, by_history_length, by_target_popularity, slices
from recctl.sequences.store import Cases, Histories


def members(some):
    return {one.group: np.flatnonzero(one.members).tolist() for one in some}


def test_history_length_is_cut_at_the_tertiles_of_the_users():
    found = by_history_length(np.array([9, 1, 2, 5, 4, 30]))
    assert members(found) == {"short": [1, 2], "medium": [3, 4], "long": [0, 5]}
    assert [one.rule for one in found] == ["at most 2 items", "3 to 5 items", "more than 5 items"]


def test_users_of_equal_history_length_stay_together():
    found = by_history_length(np.array([5, 5, 5, 5]))
    assert members(found) == {"short": [0, 1, 2, 3], "medium": [], "long": []}
    assert [one.rule for one in found] == ["at most 5 items", "none", "more than 5 items"]


def test_target_popularity_is_cut_at_thirds_of_the_training_interactions():
    # 12 interactions: before item 0 stand 0, before item 1 stand 6 (half), then 9, 11
    counts = np.array([6, 3, 2, 1])
    found = by_target_popularity(np.array([0, 1, 2, 3, -1, 0], np.int32), counts)
    assert members(found) == {"head": [0, 5], "middle": [1], "tail": [2, 3]}
    assert found[0].rule == "the 1 most popular items"


def test_cold_targets_are_in_no_part_of_the_catalogue_but_have_their_own_slice():
    found = by_cold_target(np.array([3, -1, 0], np.int32))
    assert members(found) == {"all": [0, 1, 2], "warm": [0, 2], "cold": [1]}


def test_slices_of_a_kind_do_not_overlap():
    rng = np.random.default_rng(0)
    histories = Histories.of([[0] * int(n) for n in rng.integers(0, 9, 50)])
    targets = rng.integers(-1, 10, 50).astype(np.int32)
    found = slices(Cases(np.arange(50), histories, targets), np.sort(rng.integers(1, 99, 10))[::-1])
    for name, whole in (("history length", 50), ("target popularity", int((targets >= 0).sum()))):
        assert sum(one.users for one in found if one.name == name) == whole


def test_repeats_and_new_users_are_slices_where_they_are_given():
    cases = Cases(np.arange(3), Histories.of([[1], [0], [0]]), np.array([1, 1, 0], np.int32))
    repeated, new = repeated_targets(cases), np.array([False, True, False])
    found = slices(cases, np.array([3, 1]), repeated, new)
    assert members(found[-4:]) == {"repeat": [0, 2], "explore": [1], "known": [0, 2], "new": [1]}
    assert len(slices(cases, np.array([3, 1]), None, np.zeros(3, bool))) == len(found) - 4
