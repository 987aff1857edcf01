"""One row of a decision."""

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

Outcome = Literal["pass", "fail", "suspicious", "refused", "shown"]
KEPT = ConfigDict(strict=True, use_attribute_docstrings=True, allow_inf_nan=False)
"""Of every part of a decision: types are not converted, NaN is refused."""


def _finite(value: Any) -> Any:
    """A plain float; None for NaN and infinity, which JSON does not have."""
    if isinstance(value, float | np.floating | np.integer):
        return float(value) if math.isfinite(value) else None
    return value


Number = Annotated[float | None, BeforeValidator(_finite)]


@dataclass(frozen=True, config=KEPT)
class Gate:
    """One row of a decision: a rule, what it looked at, and its outcome."""

    gate: str
    """The policy's key: primary, floors, baselines, slices, guardrails, suspicious_gain, ratchet,
    serving, refit, convergence, leak, confirmation, online, first_model; `evidence` for what cannot
    be judged at all."""
    name: str
    """What was looked at, such as `ndcg@10` or `history length: short`."""
    outcome: Outcome
    """`shown` decides nothing, such as a slice with too few users."""
    reason: str
    """One sentence for people."""
    challenger: Number = None
    """The challenger's figure."""
    reference: Number = None
    """The figure it is held against: the champion's, a baseline's, the best version's."""
    difference: Number = None
    """challenger - reference."""
    low: Number = None
    """Lower end of the 95% interval of the difference."""
    high: Number = None
    """Upper end of the 95% interval of the difference."""
    threshold: Number = None
    """What the deciding figure had to exceed, or not to exceed; the reason says which."""
    p_value: Number = None
    """Of the difference, by a sign-flip randomisation test; a slice's: of a loss of the margin."""
    users: int | None = None
    """How many users the figures are means over."""
    details: dict[str, Number] = Field(default_factory=dict)
    """More figures by name: effect_size, resolvable, p_holm."""
