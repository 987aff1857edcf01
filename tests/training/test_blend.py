"""The weights of a blend, against logs drawn from known ones and against the likelihood itself."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recctl.models.base import Recommender
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import COLD
from recctl.training import blend as module
from recctl.training.blend import fit_blend

USERS, ITEMS = 3000, 40


class Table(Recommender):
    """Scores of each user from a table; a history's first item names the user."""

    def __init__(self, kind: str, scores: NDArray[np.float64]) -> None:
        self.kind = kind  # type: ignore[misc]
        self.table = torch.from_numpy(scores).float()
        self.n_items = scores.shape[1]

    def score(self, histories: Histories) -> torch.Tensor:
        return self.table[histories.items[histories.starts].astype(np.int64)]

    def settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def tensors(self) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    @classmethod
    def restore(cls, *given: Any) -> "Table":
        raise NotImplementedError


def tables(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(USERS, ITEMS)) * 2 for name in ("first", "second", "useless")}


def drawn(scores: dict[str, NDArray[np.float64]], weights: dict[str, float]) -> Cases:
    """A target for each user, with the probability that the weighted scores say."""
    logits = sum(weight * scores[name] for name, weight in weights.items())
    gumbel = np.random.default_rng(1).gumbel(size=(USERS, ITEMS))
    targets = np.argmax(logits + gumbel, axis=1).astype(np.int32)
    return Cases(np.arange(USERS), Histories.of([[user] for user in range(USERS)]), targets)


def fitted(scores: dict[str, NDArray[np.float64]], cases: Cases) -> dict[str, float]:
    parts = [Table(name, one) for name, one in scores.items()]
    return fit_blend(list(parts), cases, filter_seen=False).weights


@pytest.mark.parametrize("weights", [{"first": 1.0, "second": 0.5}, {"first": 0.2, "second": 1.5}])
@pytest.mark.parametrize("candidates", [100, 5])
def test_known_weights_are_found_and_a_useless_part_gets_none(
    monkeypatch: pytest.MonkeyPatch, weights: dict[str, float], candidates: int
) -> None:
    monkeypatch.setattr(module, "_CANDIDATES", candidates)
    scores = tables()
    found = fitted(scores, drawn(scores, weights))
    assert found.get("useless", 0.0) < 0.04
    for name, weight in weights.items():
        assert found[name] == pytest.approx(weight, abs=0.08)


def test_a_part_that_misleads_is_left_out() -> None:
    scores = tables()
    cases = drawn(scores, {"first": 1.0, "useless": -0.5})
    assert "useless" not in fitted(scores, cases)
    assert fitted({"useless": scores["useless"]}, cases) == {"useless": 1.0}


def test_no_other_weights_are_more_likely() -> None:
    """The likelihood written out over the whole catalogue, for users few enough that it is flat."""
    scores = tables()
    every = drawn(scores, {"first": 0.6, "second": 0.3})
    cases = every.select(np.arange(200))
    found = fitted(scores, cases)

    def loss(weights: dict[str, float]) -> float:
        logits = sum(weights.get(name, 0.0) * one[:200] for name, one in scores.items())
        assert isinstance(logits, np.ndarray)
        own = logits[np.arange(200), cases.targets]
        spread = {name: one[:200].std() for name, one in scores.items()}
        prior = sum(
            (spread[name] * (weights.get(name, 0.0) - (name == "first"))) ** 2 for name in scores
        )
        return float((np.log(np.exp(logits).sum(1)) - own).sum() + prior / 2)

    best = loss(found)
    for name in scores:
        for step in (-0.02, 0.02):
            moved = {**found, name: found.get(name, 0.0) + step}
            if moved[name] >= 0:
                assert loss(moved) > best - 1e-3  # L-BFGS-B ends where it is nearly flat


def test_where_the_targets_are_no_candidates_the_first_part_is_left_alone() -> None:
    scores = tables()
    cases = drawn(scores, {"second": 1.0})
    cold = Cases(cases.users, cases.histories, np.full(USERS, COLD, np.int32))
    assert fitted(scores, cold) == {"first": 1.0}


def test_seen_items_are_no_candidates() -> None:
    """Each target is among the history, where only a ranking without the filter can show it."""
    rng = np.random.default_rng(0)
    scores = {name: rng.normal(size=(ITEMS, ITEMS)) for name in ("first", "second")}
    scores["second"] += 5 * np.eye(ITEMS)
    histories = Histories.of([[user] for user in range(ITEMS)])
    cases = Cases(np.arange(ITEMS), histories, np.arange(ITEMS, dtype=np.int32))
    parts: list[Recommender] = [Table(name, one) for name, one in scores.items()]
    assert fit_blend(parts, cases, filter_seen=False).weights["second"] > 0.5
    assert fit_blend(parts, cases, filter_seen=True).weights == {"first": 1.0}
