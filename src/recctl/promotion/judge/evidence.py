"""What a decision is made from: figures of today's test set, no figure remembered from before."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation.slices import Slice


@dataclass(frozen=True)
class Scored:
    """One model's ranks on today's test set, in full ranking over today's catalogue."""

    fingerprint: str
    """Of the evaluation protocol and its data; two different ones are never compared."""
    users: NDArray[np.int64]
    """Today's user_index of each rank, in any order; (users,)"""
    ranks: NDArray[np.floating | np.integer]
    """1-based rank of each user's target; (users,)"""


@dataclass(frozen=True)
class Conduct:
    """What a model's lists are like and what it costs; None where it could not be measured."""

    coverage: float | None = None
    popularity_bias: float | None = None
    latency_p95_ms: float | None = None
    weights_bytes: int | None = None


@dataclass(frozen=True)
class Training:
    """How the challenger's training ended."""

    epochs: int
    best_epoch: int
    best_epoch_is_cap: bool
    finite: bool
    """Whether every loss and validation on its curve was a finite number."""
    max_epochs: int | None = None
    end: list[tuple[int, float]] | None = None
    """The curve's last third: epochs with their validation NDCG@10. None (as max_epochs) in
    evidence of before it was kept."""


@dataclass(frozen=True)
class Serving:
    """How the service's own code answered with the challenger, in a process apart."""

    requests: int
    """Golden requests."""
    failure: str | None = None
    """Why it did not answer all of them as offline ranking does, in a sentence; None: it did."""


@dataclass(frozen=True)
class Refit:
    """The challenger's recipe, trained again on everything: what will serve."""

    interactions: int
    """That it was trained on."""
    new_items: int
    """Items that it knows and the judged model does not."""
    overlap: float | None
    """Mean share of items common to its lists of ten and the judged model's."""
    means: dict[str, dict[str, float]]
    """By `judged` and `again`, by metric: over today's targets, which `again` has learnt."""
    failure: str | None = None
    """As of `Serving`."""


@dataclass(frozen=True)
class Use:
    """Users to whom lists of the champion and the challenger were shown as one (interleaved)."""

    wins: int
    """Who clicked more items of the challenger's than of the champion's."""
    ties: int
    losses: int


@dataclass(frozen=True)
class Evidence:
    """Everything that `decide` looks at."""

    catalogue: int
    """Items of today's catalogue; rank catalogue + 1 is a target that cannot be recommended."""
    fingerprint: str
    """Today's evaluation fingerprint, as computed from the workspace's data."""
    users: NDArray[np.int64]
    """Today's test users by user_index, ascending, each once; (users,)"""
    challenger: Scored
    champion: Scored | None = None
    """None where no champion serves yet: the first model."""
    best: Scored | None = None
    """The best version ever promoted; None where the champion is that version."""
    baselines: dict[str, Scored] = field(default_factory=dict)
    slices: list[Slice] = field(default_factory=list)
    """Members in the order of `users`."""
    conduct: dict[str, Conduct] = field(default_factory=dict)
    """By `challenger` and `champion`."""
    overlap: float | None = None
    """Mean share of items common to challenger's and champion's lists of ten."""
    training: Training | None = None
    serving: Serving | None = None
    """None where it was not tried, and in evidence of before it was kept."""
    refit: Refit | None = None
    """None where it was not trained again: gates failed, or the policy does not ask for it."""
    use: Use | None = None
    """None but where a provisional version is judged by its use."""
    leaks: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    """By `challenger`, `champion`, `best`: which of `users` have a target that the model may have
    been trained on; (users,) each. A model without an entry could not be checked."""
    days: float | None = None
    """Since the last decision before that judged a challenger (`budget.days_since`); None where
    there was none, and in evidence of before it was kept."""
    common: dict[str, dict[str, float]] = field(default_factory=dict)
    """By model, by metric: means over the common catalogue; shown, not judged."""
    problems: list[str] = field(default_factory=list)
    """What made a part of this impossible to gather, such as a digest that did not fit: each is a
    sentence, and any of them refuses."""

    @property
    def models(self) -> dict[str, Scored]:
        """By `challenger`, `champion`, `best`: those that were scored."""
        three = {name: getattr(self, name) for name in ("challenger", "champion", "best")}
        return {name: scored for name, scored in three.items() if scored is not None}
