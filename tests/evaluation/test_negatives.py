"""Negatives: what may never be drawn, and that the rest is drawn as it should be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.evaluation import negatives
from recctl.evaluation.negatives import draw_negatives
from recctl.evaluation.ranking import NO_ITEM
from recctl.sequences.store import Cases, Histories


def cases(histories, targets):
    users = np.arange(len(targets), dtype=np.int64)
    return Cases(users, Histories.of(histories), np.array(targets, dtype=np.int32))


@st.composite
def problems(draw):
    n_items = draw(st.integers(1, 30))
    item = st.integers(0, n_items - 1)
    histories = draw(st.lists(st.lists(item, max_size=20), min_size=1, max_size=6))
    targets = [draw(st.integers(-1, n_items - 1)) for _ in histories]
    weights = np.array(draw(st.lists(st.integers(1, 5000), min_size=n_items, max_size=n_items)))
    return cases(histories, targets), weights.astype(float), draw(st.integers(1, 12))


@given(problems(), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_negatives_are_distinct_unseen_and_as_many_as_there_can_be(problem, seed):
    some, weights, count = problem
    drawn = draw_negatives(some, weights, count, np.random.default_rng(seed))
    for row, items in enumerate(drawn):
        kept = items[items != NO_ITEM]
        barred = set(some.histories[row].tolist()) | {int(some.targets[row])} - {-1}
        assert len(set(kept.tolist())) == len(kept)
        assert not barred & set(kept.tolist())
        assert len(kept) == min(count, len(weights) - len(barred))
        assert (items[len(kept) :] == NO_ITEM).all()


def test_more_negatives_than_items_take_no_more_room():
    drawn = draw_negatives(cases([[0]], [1]), np.ones(4), 10**6, np.random.default_rng(0))
    assert drawn.shape == (1, 4)
    assert sorted(drawn[0].tolist()) == [NO_ITEM, NO_ITEM, 2, 3]


def test_the_same_seed_draws_the_same():
    some = cases([[0, 1], [2]], [3, 4])
    weights = np.arange(1.0, 21.0)
    one, two = (draw_negatives(some, weights, 5, np.random.default_rng(7)) for _ in range(2))
    other = draw_negatives(some, weights, 5, np.random.default_rng(8))
    assert one.tolist() == two.tolist()
    assert one.tolist() != other.tolist()


@pytest.mark.parametrize("rounds", [12, 0], ids=["with rejection", "exact draw only"])
def test_negatives_follow_the_weights(monkeypatch, rounds):
    """Both ways of drawing, against the probabilities of successive draws worked out by hand."""
    monkeypatch.setattr(negatives, "_ROUNDS", rounds)
    weights = np.array([5.0, 3.0, 2.0, 90.0])  # item 3 is everybody's target
    users = 40_000
    some = cases([[]] * users, [3] * users)
    drawn = draw_negatives(some, weights, 2, np.random.default_rng(1))
    first = np.bincount(drawn[:, 0], minlength=4) / users
    # standard error at most sqrt(.25 / 40000) = .0025
    assert first == pytest.approx([0.5, 0.3, 0.2, 0], abs=0.01)
    second = np.bincount(drawn[:, 1], minlength=4) / users
    expected = [
        0.3 * 5 / 7 + 0.2 * 5 / 8,
        0.5 * 3 / 5 + 0.2 * 3 / 8,
        0.5 * 2 / 5 + 0.3 * 2 / 7,
        0,
    ]
    assert second == pytest.approx(expected, abs=0.01)


def test_rejection_that_hardly_ever_succeeds_still_ends():
    """All but the rarest items are seen: nearly every draw is rejected."""
    n_items = 200
    weights = np.concatenate([np.full(150, 1e6), np.ones(50)])
    some = cases([list(range(150))], [150])
    drawn = draw_negatives(some, weights, 49, np.random.default_rng(0))
    assert sorted(drawn[0].tolist()) == list(range(151, n_items))


def test_chunks_do_not_mix_users(monkeypatch):
    monkeypatch.setattr(negatives, "_CHUNK", 2)
    some = cases([[0, 1, 2], [3, 4], [5], [0], [1]], [3, 5, 0, 1, 2])
    drawn = draw_negatives(some, np.ones(6), 6, np.random.default_rng(0))
    for row, items in enumerate(drawn):
        barred = {*some.histories[row].tolist(), int(some.targets[row])}
        assert set(items.tolist()) - {NO_ITEM} == set(range(6)) - barred
