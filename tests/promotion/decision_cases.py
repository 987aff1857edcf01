"""Evidence for decisions that can be worked out by hand."""

from dataclasses import replace
from typing import Any

import numpy as np

from recctl.evaluation.slices import Slice
from recctl.promotion.judge.evidence import Conduct, Evidence, Scored, Serving, Training
from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.policy import (
    Guardrails,
    Leak,
    Primary,
    PromotionParams,
    Ratchet,
    Slices,
)

CATALOGUE = 50
MISS = 11
"""A rank that counts for nothing at a cutoff of 10."""


def ranks(*groups: tuple[int, int]) -> np.ndarray:
    """So many users of each rank: (users, rank), ..."""
    return np.concatenate([np.full(users, rank) for users, rank in groups])


def scored(of: Any, fingerprint: str = "today") -> Scored:
    of = np.asarray(of)
    return Scored(fingerprint, np.arange(len(of)), of)


CHAMPION = ranks((100, 1), (100, 3), (300, MISS))
"""HR@10 = 200/500 = .4, NDCG@10 = (100 + 100 / log2(4)) / 500 = .3"""
BETTER = ranks((100, 1), (100, 1), (60, 3), (240, MISS))
"""HR@10 = .52, NDCG@10 = (200 + 60/2) / 500 = .46; no user is worse off"""
POOR = ranks((50, 1), (450, MISS))
"""A baseline; HR@10 = NDCG@10 = .1"""


def evidence(challenger: Any = BETTER, champion: Any = CHAMPION, **more: Any) -> Evidence:
    """Sound evidence of a good challenger; anything may be replaced."""
    users = len(challenger)
    clean = np.zeros(users, np.bool_)
    conduct = Conduct(0.6, 0.5, 30.0, 1_000_000)
    even = np.arange(users) % 2 == 0
    made = Evidence(
        catalogue=CATALOGUE,
        fingerprint="today",
        users=np.arange(users),
        challenger=scored(challenger),
        champion=None if champion is None else scored(champion),
        baselines={"popularity": scored(POOR), "markov": scored(POOR)} if users == 500 else {},
        slices=[
            Slice("history length", "short", "even users", even),
            Slice("history length", "long", "odd users", ~even),
            Slice("cold targets", "all", "every user", ~clean),
            Slice("cold targets", "cold", "three users", np.arange(users) < 3),
        ],
        conduct={"challenger": conduct, "champion": conduct},
        overlap=0.5,
        training=Training(epochs=30, best_epoch=20, best_epoch_is_cap=False, finite=True),
        serving=Serving(requests=26),
        leaks=dict.fromkeys(("challenger", "champion", "best"), clean),
    )
    return replace(made, **more)


def policy(**more: Any) -> PromotionParams:
    """Every gate on, except floors; anything may be replaced."""
    whole: dict[str, Any] = {
        "resamples": 1000,
        "primary": Primary(),
        "baselines": ["popularity", "markov"],
        "slices": Slices(margin=0.03, minimum_users=100),
        "guardrails": Guardrails(
            coverage_loss=0.25,
            popularity_bias_rise=0.1,
            minimum_overlap=0.1,
            latency_ratio=2.0,
            size_ratio=2.0,
        ),
        "suspicious_gain": 0.7,
        "ratchet": Ratchet(),
        "serving": True,
        "convergence": True,
        "leak": Leak(),
    }
    return PromotionParams(**{**whole, **more})


def only(**gates: Any) -> PromotionParams:
    """A policy with these gates alone."""
    return PromotionParams(resamples=1000, **gates)


def row(rows: list[Gate], gate: str, name: str | None = None) -> Gate:
    """The one row of a gate, or the one with this name."""
    found = [one for one in rows if one.gate == gate and name in (None, one.name)]
    assert len(found) == 1, [(one.gate, one.name) for one in rows]
    return found[0]


def failing(rows: list[Gate]) -> list[tuple[str, str]]:
    """Gate and name of each row that is neither passed nor shown."""
    return [(one.gate, one.name) for one in rows if one.outcome not in ("pass", "shown")]
