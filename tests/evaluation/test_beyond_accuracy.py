"""Coverage, novelty and popularity bias of lists small enough to count."""

from itertools import combinations
from math import log2, sqrt

import numpy as np
import pytest

from recctl.evaluation.beyond_accuracy import (
    beyond_accuracy,
    diversity,
    inverse_propensity,
    item_vectors,
    serendipity,
)
from recctl.sequences.store import Histories

COUNTS = np.array([4, 2, 1, 1])  # percentiles 7/8, 5/8, 2/8, 2/8


def test_figures_of_two_lists():
    found = beyond_accuracy(
        np.array([[0, 1], [0, -1]], np.int32), Histories.of([[1, 3], [2]]), COUNTS
    )
    recommended = (7 / 8 + 5 / 8 + 7 / 8) / 3
    history = ((5 / 8 + 2 / 8) / 2 + 2 / 8) / 2
    assert found == pytest.approx(
        {
            "coverage": 2 / 4,
            # shares of the places 0, 0, 1, 2 of 3: the mean difference over twice the mean
            "gini": (1 + 2 + 1 + 2 + 1 + 0) * 2 / (2 * 4 * 4 * (3 / 4)),
            "novelty": -(log2(4 / 8) + log2(2 / 8) + log2(4 / 8)) / 3,
            "popularity_recommended": recommended,
            "popularity_history": history,
            "popularity_bias": recommended - history,
        }
    )


def test_recommending_everything_covers_the_catalogue():
    lists = np.array([[0, 1, 2, 3]], np.int32)
    assert beyond_accuracy(lists, Histories.of([[0]]), COUNTS)["coverage"] == 1


def test_without_lists_or_histories_there_is_nothing_to_say():
    found = beyond_accuracy(np.full((1, 2), -1, np.int32), Histories.of([[]]), COUNTS)
    assert found["coverage"] == 0
    assert {found[name] for name in found if name != "coverage"} == {None}


def test_empty_histories_do_not_dilute_the_mean():
    lists = np.array([[0], [0]], np.int32)
    found = beyond_accuracy(lists, Histories.of([[0], []]), COUNTS)
    assert found["popularity_bias"] == pytest.approx(0)


def test_diversity_is_one_less_the_cosine_of_the_users_in_common():
    train = Histories.of([[0, 1], [0, 1, 1], [0, 2]])  # item 0: three users, 1: two, 2: one
    lists = np.array([[0, 1], [1, 2]], np.int32)
    expected = ((1 - 2 / sqrt(3 * 2)) + (1 - 0)) / 2
    assert diversity(lists, item_vectors(train, 4)) == pytest.approx(expected)
    assert diversity(np.array([[3, -1]], np.int32), item_vectors(train, 4)) is None


def test_diversity_is_the_mean_over_all_pairs_of_each_list():
    rng = np.random.default_rng(0)
    train = Histories.of([rng.integers(0, 9, 4).tolist() for _ in range(30)])
    lists = np.array([rng.permutation(9)[:4] for _ in range(5)], np.int32)
    lists[0, 2:] = -1
    users = [{i for i in range(30) if item in train[i].tolist()} for item in range(9)]

    def distance(one, other):
        shared = len(users[one] & users[other])
        return 1 - shared / sqrt(len(users[one]) * len(users[other]))

    pairs = [[distance(*pair) for pair in combinations(row[row >= 0], 2)] for row in lists]
    expected = np.mean([np.mean(one) for one in pairs])
    assert diversity(lists, item_vectors(train, 9)) == pytest.approx(expected)


def test_serendipity_counts_hits_that_popularity_misses():
    found = serendipity(np.array([1, 2, 3, 11]), np.array([1, 11, 11, 11]), k=2)
    assert found.tolist() == [0, 1, 0, 0]


def test_a_rare_target_weighs_more_and_a_cold_one_as_one_seen_once():
    values, targets = np.array([1.0, 0.0, 0.0]), np.array([1, 0, -1], np.int32)
    weights = [1 / sqrt(2), 1 / sqrt(4), 1]
    expected = weights[0] / sum(weights)
    assert inverse_propensity(values, targets, COUNTS) == pytest.approx(expected)


def test_equal_counts_leave_the_plain_mean():
    values, targets = np.array([1.0, 0.5, 0.0]), np.array([0, 1, 2], np.int32)
    assert inverse_propensity(values, targets, np.full(3, 7)) == pytest.approx(0.5)
