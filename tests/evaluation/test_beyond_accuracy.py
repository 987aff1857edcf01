"""Coverage, novelty and popularity bias of lists small enough to count."""

from math import log2

import numpy as np
import pytest

from recctl.evaluation.beyond_accuracy import beyond_accuracy
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
