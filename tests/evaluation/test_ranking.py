"""The target's rank, against a ranking done by hand and by brute force."""

import math
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.evaluation import ranking
from recctl.evaluation.ranking import NO_ITEM, rank_cases, top_items, unreachable, without_seen
from recctl.models.base import Recommender
from recctl.sequences.store import Cases, Histories

INF, NAN = math.inf, math.nan


class Scripted(Recommender):
    """Scores by the history's first item: row i of a table belongs to the history [i, ...]."""

    kind = "scripted"

    def __init__(self, table):
        self.table = torch.tensor(table, dtype=torch.float32)
        self.n_items = self.table.shape[1]

    def score(self, histories):
        return self.table[torch.from_numpy(histories.items[histories.starts].astype(np.int64))]

    def settings(self):
        return {}

    def tensors(self):
        return {}

    @classmethod
    def restore(cls, settings, tensors, device):
        raise NotImplementedError


def cases(histories, targets):
    users = np.arange(len(targets), dtype=np.int64)
    return Cases(users, Histories.of(histories), np.array(targets, dtype=np.int32))


def rank_one(scores, target, history=(0,), **options):
    """The rank of one target; the history's first item must be 0."""
    return rank_cases(Scripted([scores]), cases([list(history)], [target]), **options).full[0]


def brute_force(scores, target, history, filter_seen):
    """The conventions of ranking.py read out loud, one candidate at a time."""
    seen = set(history) if filter_seen else set()
    if target == -1 or target in seen:
        return len(scores) + 1
    own = np.float32(scores[target])
    if math.isnan(own) or own == -INF:
        return len(scores)
    others = [i for i in range(len(scores)) if i != target and i not in seen]
    return 1 + sum(not np.float32(scores[i]) < own for i in others)


# Few distinct values, so that ties are common.
a_score = st.sampled_from([-INF, -1.0, 0.0, 0.5, 1.0, INF, NAN]) | st.floats(width=32)


@st.composite
def ranking_problems(draw):
    n_items = draw(st.integers(1, 7))
    rows = draw(st.integers(1, min(n_items, 5)))
    table = draw(
        st.lists(
            st.lists(a_score, min_size=n_items, max_size=n_items), min_size=rows, max_size=rows
        )
    )
    rest = st.lists(st.integers(0, n_items - 1), max_size=5)
    histories = [[row, *draw(rest)] for row in range(rows)]
    targets = [draw(st.integers(-1, n_items - 1)) for _ in range(rows)]
    return table, histories, targets


@given(ranking_problems(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_full_ranks_equal_brute_force(problem, filter_seen):
    table, histories, targets = problem
    ranks = rank_cases(Scripted(table), cases(histories, targets), filter_seen=filter_seen).full
    expected = [
        brute_force(*row, filter_seen) for row in zip(table, targets, histories, strict=True)
    ]
    assert ranks.tolist() == expected


@given(ranking_problems(), st.data())
@settings(max_examples=200, deadline=None)
def test_sampled_ranks_equal_brute_force_over_the_negatives(problem, data):
    table, histories, targets = problem
    n_items = len(table[0])
    negatives = np.full((len(table), 4), NO_ITEM, np.int32)
    for row, (history, target) in enumerate(zip(histories, targets, strict=True)):
        free = sorted(set(range(n_items)) - set(history) - {target})
        chosen = data.draw(st.permutations(free))[:4]
        negatives[row, : len(chosen)] = chosen
    ranks = rank_cases(Scripted(table), cases(histories, targets), negatives={"s": negatives})
    for row, (scores, history, target) in enumerate(zip(table, histories, targets, strict=True)):
        if target == -1 or target in history:
            expected = n_items + 1
        else:
            drawn = [i for i in negatives[row] if i != NO_ITEM]
            own = np.float32(scores[target])
            expected = 1 + sum(not np.float32(scores[i]) < own for i in drawn)
        assert ranks.sampled["s"][row] == expected


def test_rank_counts_what_is_not_below():
    assert rank_one([0.1, 0.9, 0.5, 0.3], target=2) == 2  # after 0.9; item 0 is seen


def test_ties_count_against_the_model():
    assert rank_one([0.0, 0.5, 0.5, 0.5], target=1) == 3


def test_a_nan_elsewhere_counts_against_the_model():
    assert rank_one([0.0, 0.5, NAN, 0.1], target=1) == 2


@pytest.mark.parametrize("own", [NAN, -INF])
def test_a_target_without_a_score_is_last_of_the_catalogue(own):
    assert rank_one([0.0, own, 0.2, 0.1], target=1) == 4


def test_seen_items_are_no_candidates():
    scores = [0.9, 0.8, 0.7, 0.1]
    assert rank_one(scores, target=3, history=[0, 1, 1]) == 2
    assert rank_one(scores, target=3, history=[0, 1, 1], filter_seen=False) == 4


def test_a_seen_target_cannot_be_recommended_unless_the_filter_is_off():
    scores = [0.1, 0.9, 0.2]
    assert rank_one(scores, target=1, history=[0, 1]) == 3 + 1
    assert rank_one(scores, target=1, history=[0, 1], filter_seen=False) == 1


def test_a_cold_target_cannot_be_recommended():
    assert rank_one([0.1, 0.9, 0.2], target=-1) == 3 + 1
    assert rank_one([0.1, 0.9, 0.2], target=-1, filter_seen=False) == 3 + 1


def test_a_constant_scorer_comes_last():
    n_items = 50
    table = np.zeros((20, n_items)).tolist()
    histories = [[row] for row in range(20)]
    ranks = rank_cases(Scripted(table), cases(histories, [row + 20 for row in range(20)]))
    assert ranks.full.tolist() == [n_items - 1] * 20  # one item of each is seen


def test_order_is_restored_after_batching_by_length(monkeypatch):
    monkeypatch.setattr(ranking, "_BATCH", 2)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(9, 30))
    histories = [[row, *rng.integers(0, 30, rng.integers(0, 12)).tolist()] for row in range(9)]
    targets = rng.integers(0, 30, 9).tolist()
    found = rank_cases(Scripted(table.tolist()), cases(histories, targets), top=3)
    for row in range(9):
        assert found.full[row] == brute_force(table[row], targets[row], histories[row], True)
        free = [i for i in np.argsort(-table[row]) if i not in histories[row]]
        assert found.top[row].tolist() == free[:3]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def fifty_cases():
    rng = np.random.default_rng(0)
    histories = [[i, *rng.integers(20, size=rng.integers(6))] for i in rng.integers(20, size=50)]
    options = {"negatives": {"some": rng.integers(20, size=(50, 7)).astype(np.int32)}, "top": 4}
    return Scripted(rng.normal(size=(20, 20))), cases(histories, rng.integers(20, size=50)), options


def test_several_threads_rank_as_one_does(monkeypatch, two_threads):
    """From the second batch on two are worked on at a time: each waits for another one."""
    monkeypatch.setattr(ranking, "_BATCH", 2)  # one batch, and twelve times two
    model, asked, options = fifty_cases()
    score, calls, pair = model.score, [], threading.Barrier(2, timeout=60)

    def in_pairs(histories):
        calls.append(torch.get_num_threads())
        if len(calls) > 1:
            pair.wait()
        return score(histories)

    model.score = in_pairs
    together = rank_cases(model, asked, **options)
    assert calls == [2] + 24 * [1]
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2
    model.score = score
    torch.set_num_threads(1)
    alone = rank_cases(model, asked, **options)
    assert together.full.tolist() == alone.full.tolist()
    assert together.sampled["some"].tolist() == alone.sampled["some"].tolist()
    assert together.top.tolist() == alone.top.tolist()


def test_together_batches_hold_no_more_scores_than_one_may(monkeypatch, two_threads):
    monkeypatch.setattr(ranking, "_BATCH", 2)
    monkeypatch.setattr(ranking, "_SCORES", 79)  # less than two batches of two histories
    model, asked, options = fifty_cases()
    score, ran = model.score, set()
    model.score = lambda histories: (ran.add(threading.get_ident()), score(histories))[1]
    rank_cases(model, asked, **options)
    assert ran == {threading.get_ident()}


def test_what_one_thread_raises_ends_the_ranking(monkeypatch, two_threads):
    monkeypatch.setattr(ranking, "_BATCH", 1)
    model = Scripted(np.eye(400))
    asked, score, calls = cases([[i] for i in range(400)], [1] * 400), model.score, []

    def broken(histories):
        calls.append(1)
        if histories.items[histories.starts[0]] == 5:
            raise ZeroDivisionError
        time.sleep(0.01)
        return score(histories)

    model.score = broken
    with pytest.raises(ZeroDivisionError):
        rank_cases(model, asked)
    assert len(calls) < 400  # what waited was not begun
    assert torch.get_num_threads() == threads_of_a_new_thread() == 2


def test_the_models_own_scores_are_left_alone():
    model = Scripted([[0.4, 0.3, 0.2]])
    before = model.table.clone()

    class Lender(Scripted):
        def score(self, histories):
            return self.table  # no copy

    lender = Lender(before.tolist())
    rank_cases(lender, cases([[0, 1]], [2]))
    assert torch.equal(lender.table, before)


def test_without_seen_takes_histories_of_any_length():
    scores = without_seen(torch.ones(3, 2), Histories.of([[], [1, 1], [0, 1]]))
    assert scores.tolist() == [[1, 1], [1, -INF], [-INF, -INF]]


def test_lists_leave_out_nan_and_what_is_no_candidate():
    scores = torch.tensor([[NAN, 0.1, -INF, 0.3], [INF, 0.0, 0.0, -INF]])
    assert top_items(scores, 3).tolist()[0] == [3, 1, NO_ITEM]
    assert top_items(scores, 1).tolist()[1] == [0]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_equal_scores_go_by_their_index_however_long_the_list(data):
    n_items = data.draw(st.integers(1, 40))
    score = st.sampled_from([0.0, -0.0, 0.5, 1.0, -INF, INF, NAN])
    row = st.lists(score, min_size=n_items, max_size=n_items)
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    k = data.draw(st.integers(1, n_items + 2))
    for scores, found in zip(rows, top_items(torch.tensor(rows), k).tolist(), strict=True):
        some = [item for item, one in enumerate(scores) if one > -INF]
        wanted = sorted(some, key=lambda item: -scores[item])[:k]  # a stable sort
        assert found == wanted + [NO_ITEM] * (min(k, n_items) - len(wanted))


def test_lists_longer_than_the_catalogue_are_filled_up():
    found = rank_cases(Scripted([[0.3, 0.2, 0.1]]), cases([[0]], [1]), top=10)
    assert found.top.tolist() == [[1, 2, *[NO_ITEM] * 8]]


def test_unreachable_targets_are_counted_by_cause():
    some = cases([[0, 1], [0], [2]], [1, -1, 3])
    assert unreachable(some, filter_seen=True) == {"cold": 1, "seen": 1}
    assert unreachable(some, filter_seen=False) == {"cold": 1, "seen": 0}


def test_progress_is_reported(monkeypatch):
    monkeypatch.setattr(ranking, "_BATCH", 1)
    monkeypatch.setattr(ranking, "_SECONDS_BETWEEN_LINES", -1.0)
    counts = []
    rank_cases(Scripted([[0.0, 1.0]]), cases([[0], [0]], [1, 1]), progress=counts.append)
    assert counts == [1, 2]
