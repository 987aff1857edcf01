"""The verdict on a challenger: pure, from evidence and policy, failing closed."""

from dataclasses import dataclass, field
from typing import Literal

Verdict = Literal["promoted", "rejected", "suspicious", "refused", "stale"]
Outcome = Literal["pass", "fail", "suspicious", "refused", "shown"]
"""Of a gate; `shown` decides nothing, such as a slice with too few users."""


@dataclass(frozen=True)
class Gate:
    """One row of a decision."""

    gate: str
    """The policy's key: primary, floors, baselines, slices, guardrails, suspicious_gain, ratchet,
    convergence, leak, first_model; `evidence` for what cannot be judged at all."""
    name: str
    """What was looked at, such as `ndcg@10` or `history length: short`."""
    outcome: Outcome
    reason: str
    """One sentence for people."""
    challenger: float | None = None
    reference: float | None = None
    """The champion's figure, a baseline's, the best version's."""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the 95% interval of the difference."""
    threshold: float | None = None
    """What the deciding figure had to exceed (or not to exceed: the reason says)."""
    p_value: float | None = None
    users: int | None = None
    details: dict[str, float] = field(default_factory=dict)
    """More figures by name: effect_size, resolvable, p_holm, ..."""


@dataclass(frozen=True)
class Decision:
    """A verdict, all gates behind it, and one sentence that says why."""

    verdict: Verdict
    gates: list[Gate]
    sentence: str
