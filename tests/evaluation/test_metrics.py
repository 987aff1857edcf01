"""Metrics by hand, and against scikit-learn."""

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recctl.errors import UserError
from recctl.evaluation.metrics import means, parse, per_case

RANKS = np.array([1, 2, 5, 6, 10, 11])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hr@1", [1, 0, 0, 0, 0, 0]),
        ("hr@5", [1, 1, 1, 0, 0, 0]),
        ("hr@10", [1, 1, 1, 1, 1, 0]),
        ("ndcg@5", [1, 1 / log2(3), 1 / log2(6), 0, 0, 0]),
        ("ndcg@10", [1, 1 / log2(3), 1 / log2(6), 1 / log2(7), 1 / log2(11), 0]),
        ("mrr", [1, 1 / 2, 1 / 5, 1 / 6, 1 / 10, 1 / 11]),
        ("mrr@5", [1, 1 / 2, 1 / 5, 0, 0, 0]),
    ],
)
def test_metrics_of_known_ranks(name, expected):
    assert per_case(name, RANKS, n_items=100) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["hr@1", "hr@10", "ndcg@10", "mrr", "mrr@10"])
def test_what_cannot_be_recommended_scores_zero_in_a_catalogue_of_any_size(name):
    for n_items in (1, 5, 9, 500):
        assert per_case(name, np.array([n_items + 1]), n_items).tolist() == [0]


@given(st.integers(2, 40), st.integers(1, 45), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_ndcg_agrees_with_scikit_learn(n_items, k, seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n_items) + rng.random(n_items) / 2  # no ties
    target = rng.integers(n_items)
    rank = 1 + int((scores > scores[target]).sum())
    truth = np.eye(n_items)[[target]]
    ours = per_case(f"ndcg@{k}", np.array([rank]), n_items)[0]
    assert ours == pytest.approx(ndcg_score(truth, scores[None], k=k))


def test_means_are_over_cases():
    found = means(["hr@5", "mrr"], RANKS, n_items=100)
    expected = (1 + 1 / 2 + 1 / 5 + 1 / 6 + 1 / 10 + 1 / 11) / 6
    assert found == pytest.approx({"hr@5": 3 / 6, "mrr": expected})


@pytest.mark.parametrize("name", ["ndgc@10", "hr", "hr@0", "hr@-1", "hr@ten", "recall@10", "", "@"])
def test_unknown_metrics_are_refused_in_one_line(name):
    with pytest.raises(UserError, match="unknown metric") as caught:
        parse(name)
    assert "\n" not in str(caught.value)


def test_the_nearest_metric_is_offered():
    with pytest.raises(UserError, match=r"did you mean 'ndcg@10'\?"):
        parse("ndgc@10")
