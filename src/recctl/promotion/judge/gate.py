"""One row of a decision, and the words and numbers that rows are made of."""

from dataclasses import dataclass, field
from typing import Literal

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


def figure(value: float) -> str:
    """A metric as people read it.

    >>> figure(0.248), figure(1.0), figure(-0.5)
    ('.2480', '1.0000', '-.5000')
    """
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 0.99995 else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference as people read it; the sign of what rounds to zero is not shown as a loss.

    >>> signed(0.0168), signed(-0.003), signed(0.0)
    ('+.0168', '-.0030', '+.0000')
    """
    return ("" if round(value, 4) < 0 else "+") + figure(
        abs(value) if round(value, 4) == 0 else value
    )


def change(difference: float, low: float, high: float) -> str:
    """A difference with its 95% interval.

    >>> change(0.0168, 0.0101, 0.0236)
    '+.0168 [+.0101, +.0236]'
    """
    return f"{signed(difference)} [{signed(low)}, {signed(high)}]"


def label(metric: str) -> str:
    """A metric's name as people write it.

    >>> label("ndcg@10")
    'NDCG@10'
    """
    return metric.upper()


def percent(share: float) -> str:
    """A share in per cent, never rounded down to none.

    >>> percent(0.25), percent(0.00004)
    ('25.0%', '0.004%')
    """
    return f"{share:.1%}" if share == 0 or share >= 0.001 else f"{100 * share:.1g}%"
