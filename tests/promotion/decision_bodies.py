"""Bodies of decisions as the log keeps them, one of every kind, for tests of what people see."""

import json
from dataclasses import asdict
from typing import Any

from recctl.promotion.judge.gate import Gate, Outcome
from recctl.promotion.judge.policy import (
    Guardrails,
    Leak,
    Primary,
    PromotionParams,
    Ratchet,
    Slices,
)
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view.schema import Check, HistoryRow, ModelVersion

POLICY = PromotionParams(
    primary=Primary(),
    floors={"ndcg@10": 0.1},
    baselines=["popularity", "markov"],
    slices=Slices(),
    guardrails=Guardrails(coverage_loss=0.25, minimum_overlap=0.1, latency_ratio=2.0),
    suspicious_gain=0.5,
    ratchet=Ratchet(),
    convergence=True,
    leak=Leak(),
).model_dump()
NO_ALIASES: dict[str, int | None] = {"champion": None, "previous": None, "best": None}


def gate(
    key: str,
    name: str,
    outcome: Outcome,
    reason: str,
    figures: tuple[float, float] | None = None,
    ends: tuple[float, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A gate's row; `figures` are challenger and reference, `ends` those of the interval."""
    low, high = ends or (None, None)
    challenger, reference = figures or (None, None)
    difference = figures and round(figures[0] - figures[1], 10)
    return asdict(
        Gate(
            key,
            name,
            outcome,
            reason,
            challenger=challenger,
            reference=reference,
            difference=difference,
            low=low,
            high=high,
            **more,
        )
    )


def primary(metric: str, outcome: Outcome, gain: float, half: float) -> dict[str, Any]:
    """A primary gate with the champion at .2480 and a symmetric interval."""
    held = "better" if gain > half else "not worse"
    word = held if outcome == "pass" else "not proven to be no worse"
    return gate(
        "primary",
        metric,
        outcome,
        f"{metric} is {word}: the interval's lower end is {gain - half:.4f}",
        (0.248 + gain, 0.248),
        (gain - half, gain + half),
        threshold=-0.005,
        p_value=0.0002 if gain > half else 0.42,
        users=1000,
        details={"effect_size": round(gain / 0.35, 4), "resolvable": 0.0121}
        | ({"better": float(gain > half)} if outcome == "pass" else {}),
    )


def in_slice(name: str, users: int, gain: float, half: float, outcome: Outcome) -> dict[str, Any]:
    """A slice's gate."""
    few = outcome == "shown"
    reason = f"{users} users are too few" if few else f"lower end {gain - half:.4f} over -.03"
    return gate(
        "slices",
        name,
        outcome,
        reason,
        (0.2 + gain, 0.2),
        (gain - half, gain + half),
        threshold=-0.03,
        users=users,
        details={} if few else {"p_holm": 0.0024},
    )


def gates(gain: float, outcome: Outcome = "pass") -> list[dict[str, Any]]:
    """All gates of a decision whose challenger is better (or worse) by `gain`."""
    return [
        primary("ndcg@10", outcome, gain, 0.009),
        primary("hr@10", outcome, gain * 1.5, 0.014),
        gate(
            *("floors", "ndcg@10", "pass", ".2611 is above the floor of .1000"),
            (0.248 + gain, 0.1),
            threshold=0.1,
        ),
        gate(
            *("baselines", "popularity", "pass", "better than popularity by ndcg@10"),
            (0.248 + gain, 0.06),
            (0.176 + gain, 0.2 + gain),
            threshold=0.0,
            p_value=0.0001,
        ),
        gate(
            *("baselines", "markov", "pass", "better than markov by ndcg@10"),
            (0.248 + gain, 0.231),
            (0.004 + gain, 0.03 + gain),
            threshold=0.0,
            p_value=0.0001,
        ),
        in_slice("history length: short", 402, gain, 0.02, "pass"),
        in_slice("history length: long", 391, gain, 0.02, outcome),
        in_slice("target popularity: head", 611, gain, 0.015, "pass"),
        in_slice("target popularity: tail", 122, -0.02, 0.06, "shown"),
        in_slice("arrival: newest", 250, gain, 0.024, "pass"),
        gate("guardrails", "coverage", "pass", "keeps 97% of it", (0.66, 0.68), threshold=0.51),
        gate("guardrails", "p95 latency", "pass", "3.1 ms: below 20 ms never fails", (3.1, 2.9)),
        gate("guardrails", "overlap of top tens", "pass", ".44, at least .10", (0.44, 0.1)),
        gate("suspicious_gain", "ndcg@10", "pass", "a relative gain of 5.3%, at most 50%"),
        gate(
            *("ratchet", "ndcg@10", "pass", "not worse than version 2, the best ever"),
            (0.248 + gain, 0.2475),
            (gain - 0.009, gain + 0.009),
            threshold=-0.005,
        ),
        gate("convergence", "epochs", "pass", "best epoch 31 of 40"),
        gate("leak", "challenger", "pass", "no test target is in its training"),
        gate("leak", "champion", "pass", "no test target is in its training"),
    ]


def body(verdict: str | None, sentence: str, **more: Any) -> dict[str, Any]:
    """A promotion's body; `more` replaces keys."""
    means = {
        "challenger": {"ndcg@10": 0.2611, "hr@10": 0.4117},
        "champion": {"ndcg@10": 0.248, "hr@10": 0.392},
    }
    baselines = {
        "popularity": {"ndcg@10": 0.06, "hr@10": 0.121},
        "markov": {"ndcg@10": 0.231, "hr@10": 0.377},
    }
    return {
        "schema": 1,
        "previous": "5f" * 32,
        "nonce": "8c" * 16,
        "kind": "promotion",
        "verdict": verdict,
        "sentence": sentence,
        "time": "2026-03-01T04:05:06+00:00",
        "who": "nightly@trainer-1",
        "forced": False,
        "reason": None,
        "registered_model": "recommender",
        "saw": {"champion": 3, "previous": 2, "best": 2},
        "sets": None,
        "challenger": {"version": 4, "digest": "a1" * 32, "model": "bert4rec"},
        "champion": {"version": 3, "digest": "b2" * 32, "model": "item-knn"},
        "best": {"version": 2, "digest": "c3" * 32, "model": "bert4rec"},
        "users": 1000,
        "catalogue": 520,
        "common_catalogue": 498,
        "means": {
            "full": {**means, "best": {"ndcg@10": 0.2475, "hr@10": 0.39}, **baselines},
            "common": means,
        },
        "gates": gates(0.0131),
        "policy": POLICY,
        "lineage": {
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "dirty": "true",
            "data_md5": "9e107d9d372bb6826bd81d3542a419d6.dir",
            "split_fingerprint": "d4" * 32,
            "evaluation_fingerprint": "e5" * 32,
        },
        "evidence": {"run_id": "0f" * 16, "files": {"evidence.parquet": "f6" * 32}},
        "acknowledges": [],
        **more,
    }


def _gates(key: str, gain: float, **changes: Any) -> list[dict[str, Any]]:
    return [one | changes if one["gate"] == key else one for one in gates(gain)]


MOVES = {"champion": 4, "previous": 3, "best": 4}
PROMOTED = body(
    "promoted",
    "Better by ndcg@10 (+.0131, 95% +.0041 to +.0221), not worse by any gate.",
    sets=MOVES,
)
REJECTED = body(
    "rejected",
    "Rejected: ndcg@10 may be worse by more than .0050 (95% -.0291 to -.0111).",
    gates=gates(-0.0201, "fail"),
)
SUSPICIOUS = body(
    "suspicious",
    "A relative gain of 81% by ndcg@10 is too good to be true: look for a leak first.",
    gates=_gates("suspicious_gain", 0.2, outcome="suspicious", reason="81% is above 50%"),
)
REFUSED = body(
    "refused",
    "Cannot be judged: the champion was trained on 37 of today's test targets.",
    gates=[
        gate(
            *("leak", "champion", "refused", "37 of 1,000 test targets are in its training"),
            users=37,
        ),
        gate("evidence", "digests", "refused", "model.safetensors is not what was registered"),
    ],
    means={"full": {}, "common": {}},
)
STALE = body("stale", "Another decision moved the champion meanwhile; judge again.")
FIRST = body(
    "promoted",
    "The first model: floors and baselines hold.",
    previous=None,
    saw=NO_ALIASES,
    sets={"champion": 1, "previous": None, "best": 1},
    challenger={"version": 1, "digest": "a1" * 32, "model": "bert4rec"},
    champion=None,
    best=None,
    common_catalogue=None,
    means={"full": {"challenger": {"ndcg@10": 0.2611, "hr@10": 0.4117}}, "common": {}},
    gates=[
        *(one for one in gates(0.0131) if one["gate"] in ("floors", "baselines", "convergence")),
        gate("first_model", "policy", "pass", "`baselines`: floors and baselines hold"),
    ],
)
FORCED = REJECTED | {
    "forced": True,
    "approved_by": "Ann [bold]Lee[/bold]",
    "reason": "incident 42: the champion [bold]lacks[/bold] the new catalogue",
    "sets": MOVES,
    "sentence": "rejected: ndcg@10 may be worse.",
}
NOTHING_SCORED: dict[str, Any] = {
    "users": None,
    "catalogue": None,
    "common_catalogue": None,
    "means": {"full": {}, "common": {}},
    "gates": [],
    "policy": {},
    "lineage": {},
    "evidence": None,
}
ROLLBACK = body(
    "promoted",
    "Version 3 serves again instead of version 4.",
    kind="rollback",
    reason="complaints about <repeated> lists",
    saw=MOVES,
    sets={"champion": 3, "previous": 4, "best": 4},
    challenger={"version": 3, "digest": "b2" * 32, "model": "item-knn"},
    champion={"version": 4, "digest": "a1" * 32, "model": "bert4rec"},
    **NOTHING_SCORED,
)
RECOVERY = body(
    "refused",
    "Decision 7 was never finished and version 4 is gone: version 3 keeps serving.",
    kind="recovery",
    challenger=None,
    best=None,
    **NOTHING_SCORED,
)
COMPARISON = body(
    None,
    "",
    kind="comparison",
    challenger={"version": None, "digest": "a1" * 32, "model": "bert4rec"},
    gates=[one | {"outcome": "shown"} for one in gates(0.0131) if one["gate"] != "leak"],
    evidence=None,
)
ALL = {
    "promoted": PROMOTED,
    "rejected": REJECTED,
    "suspicious": SUSPICIOUS,
    "refused": REFUSED,
    "stale": STALE,
    "first": FIRST,
    "forced": FORCED,
    "rollback": ROLLBACK,
    "recovery": RECOVERY,
}


def record(content: dict[str, Any]) -> DecisionRecord:
    """The record that is read from a body."""
    return DecisionRecord.model_validate_json(json.dumps(content))


def row(position: int, content: dict[str, Any], **more: Any) -> HistoryRow:
    """A row of the history."""
    fields: dict[str, Any] = {"state": "done", "in_force": True, "digest": "77" * 32, **more}
    return HistoryRow(position=position, body=record(content), **fields)


ROWS = [
    row(1, FIRST),
    row(2, REJECTED),
    row(3, PROMOTED, state="pending"),
    row(5, STALE, in_force=False),
    row(6, FORCED),
    row(7, ROLLBACK),
    row(8, RECOVERY),
]
VERSIONS = [
    ModelVersion(
        version=3,
        model="item-knn",
        aliases=["champion", "previous"],
        digest="b2" * 32,
        registered="2026-02-28T04:05:06+00:00",
        data_md5="9e107d9d372bb6826bd81d3542a419d6.dir",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty="true",
        split_fingerprint="d4" * 32,
        run_id="0f" * 16,
        files={"artifacts/recommender/model.safetensors": "f6" * 32},
    ),
    ModelVersion(
        version=4,
        model="bert4rec",
        aliases=[],
        digest="a1" * 32,
        registered="2026-03-01T04:05:06+00:00",
        data_md5=None,
        commit=None,
        dirty="none",
        split_fingerprint=None,
        run_id=None,
        files=None,
    ),
]
CHECKS = [
    Check(name="decision log", ok=True, detail="8 entries, each names the one before it"),
    Check(
        name="version 4",
        ok=False,
        detail="artifacts/recommender/model.safetensors is not what was registered "
        "(sha256 f6f6f6f6f6f6, registered 0a0a0a0a0a0a); roll back, then delete the version",
    ),
    Check(name="alias champion", ok=True, detail="version 3, as decision 7 set it"),
]
