"""What holds for every kind of model, by its scores and by its weights alone."""

import gc
import math
import weakref
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl import recommend
from recctl.errors import UserError
from recctl.models import COUNTED, MODELS, NEURAL
from recctl.models.base import Recommender
from recctl.models.blend import Blend
from recctl.recommend import Rules, Served
from recctl.sequences.store import Histories
from recctl.sequences.vocabulary import Vocabulary
from recctl.training.params import TrainParams

N_ITEMS = 7  # no user has the last one
LOG = [[0, 1, 2, 0, 1], [1, 2], [2, 3, 1], [0, 3], [4, 5, 4]]
ITEMS = tuple("abcdefg")


def make(kind: str) -> Recommender:
    """One of each kind, counted or untrained."""
    if kind in COUNTED:
        return COUNTED[kind].fit(Histories.of(LOG), N_ITEMS)
    if kind == Blend.kind:
        parts = {name: make(name) for name in ("markov", "item-knn", "popularity", "sasrec")}
        return Blend(parts, dict.fromkeys(parts, 0.5))
    params = TrainParams.model_validate({"model": kind, kind: {"max_length": 4, "hidden_size": 8}})
    encoder = NEURAL[kind].build(N_ITEMS, params.network())
    encoder.initialise(torch.Generator().manual_seed(0))
    return NEURAL[kind](encoder.eval().requires_grad_(False))


MADE = {kind: make(kind) for kind in MODELS}
SERVED = {kind: Served(one, Vocabulary(ITEMS, (1,) * N_ITEMS)) for kind, one in MADE.items()}
some_items = st.lists(st.sampled_from([*ITEMS, "unknown"]), max_size=N_ITEMS)


@pytest.mark.parametrize("kind", MODELS)
@settings(max_examples=25, deadline=None)
@given(
    history=st.lists(st.sampled_from(ITEMS), max_size=6),
    k=st.integers(1, N_ITEMS + 2),
    filter_seen=st.booleans(),
    exclude=some_items,
    among=st.none() | some_items,
    diversity=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_list_is_short_only_where_the_rules_leave_fewer_items(
    kind: str,
    history: list[str],
    k: int,
    filter_seen: bool,
    exclude: list[str],
    among: list[str] | None,
    diversity: float,
) -> None:
    only = None if among is None else frozenset(among)
    diversity *= "popularity" not in kind
    rules = Rules(k, filter_seen, frozenset(exclude), only, diversity)
    [found] = SERVED[kind].answer([(history, rules)])
    allowed = set(ITEMS if among is None else among) & set(ITEMS) - set(exclude)
    if filter_seen:
        allowed -= set(history)
    listed = [one.item_id for one in found]
    assert len(listed) == len(set(listed)) == min(k, len(allowed))
    assert set(listed) <= allowed
    assert all(math.isfinite(one.score) for one in found)


def nearness(kind: str, one: int, other: int) -> float | None:
    """From the log or the item vectors, pair by pair; None where the model says nothing."""
    if kind == "item-knn":  # every item has fewer neighbours than it keeps
        users = [{user for user, items in enumerate(LOG) if item in items} for item in (one, other)]
        both = len(users[0] & users[1])
        return both / math.sqrt(len(users[0]) * len(users[1])) if both else None
    if kind == "markov":
        after = [b for items in LOG for a, b in pairwise(items) if a == one]
        return after.count(other) / len(after) if other in after else None
    network = MADE["sasrec" if kind == "blend" else kind]
    a, b = (network.tensors()["item.weight"][item].numpy() for item in (one, other))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("kind", [*NEURAL, "item-knn", "markov", "blend"])
@pytest.mark.parametrize("k", [2, 99])
def test_similar_items_are_the_nearest_of_all_pairs(kind: str, k: int) -> None:
    for item in range(N_ITEMS):
        pairs = {other: nearness(kind, item, other) for other in range(N_ITEMS) if other != item}
        near = {other: value for other, value in pairs.items() if value is not None}
        best = sorted(near, key=lambda other: (-near[other], other))[:k]
        found = SERVED[kind].similar(ITEMS[item], k)
        assert [one.item_id for one in found] == [ITEMS[other] for other in best]
        assert [one.rank for one in found] == list(range(1, len(best) + 1))
        assert [one.score for one in found] == pytest.approx(
            [near[other] for other in best], abs=1e-6
        )


@pytest.mark.parametrize("kind", ["bert4rec", "item-knn", "markov", "blend"])
@pytest.mark.parametrize("candidates", [1, 5])
def test_a_diverse_list_is_chosen_item_by_item(
    kind: str, candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommend, "_CANDIDATES", candidates)
    k, diversity = 3, 0.37
    histories = [[0], [2, 1], []]
    scores = MADE[kind].score(Histories.of(histories)).tolist()
    expected, plain = [], []
    for history, row in zip(histories, scores, strict=True):
        left = [item for item in range(N_ITEMS) if item not in history]
        left = sorted(left, key=lambda item: (-row[item], item))[: k * candidates]
        least, most = row[left[-1]], row[left[0]]
        plain.append([ITEMS[item] for item in left[:k]])
        chosen: list[int] = []
        while len(chosen) < k:
            worth = {
                item: (1 - diversity) * (row[item] - least) / (most - least)
                - diversity * max([0.0, *(nearness(kind, one, item) or 0.0 for one in chosen)])
                for item in left
                if item not in chosen
            }
            chosen.append(max(worth, key=worth.__getitem__))
        expected.append([ITEMS[item] for item in chosen])
    rules = Rules(k, True, diversity=diversity)
    asked = [([ITEMS[item] for item in history], rules) for history in histories]
    lists = SERVED[kind].answer([*asked, ([], Rules(k, True))])
    assert [[one.item_id for one in found] for found in lists] == [*expected, plain[2]]
    assert [one.rank for one in lists[0]] == [1, 2, 3]
    if candidates == 5:
        assert expected != plain


def test_a_blend_says_what_its_best_part_for_pairs_says() -> None:
    of_parts = {
        ("markov", "item-knn"): "item-knn",
        ("popularity", "markov"): "markov",
        ("item-knn", "gru4rec"): "gru4rec",
    }
    for parts, says in of_parts.items():
        blend = Blend({name: MADE[name] for name in parts}, dict.fromkeys(parts, 1.0))
        assert torch.equal(blend.similar(0), MADE[says].similar(0))


def test_popularity_says_nothing_about_pairs_and_no_model_about_unknown_items() -> None:
    alone = Blend({"popularity": MADE["popularity"]}, {"popularity": 1.0})
    for model in (MADE["popularity"], MADE["recent-popularity"], alone):
        with pytest.raises(UserError, match=f"^{model.kind} does not say which items are similar"):
            Served(model, SERVED["markov"].vocabulary).similar("a", 3)
        with pytest.raises(UserError, match=f"^{model.kind} does not say which items are similar"):
            Served(model, SERVED["markov"].vocabulary).check(filter_seen=True, diversity=0.5)
    for served in SERVED.values():
        with pytest.raises(UserError, match="does not know the item 'unknown'"):
            served.similar("unknown", 3)


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_is_not_used_any_more_is_freed(kind: str) -> None:
    """The service leaves loaded models out of garbage collections."""
    served = Served(make(kind), Vocabulary(ITEMS, (1,) * N_ITEMS))
    served.answer([(["a"], Rules(3, True))])
    left = weakref.ref(served.model)
    gc.disable()
    try:
        del served
        assert left() is None
    finally:
        gc.enable()
