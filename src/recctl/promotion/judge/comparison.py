"""The challenger against one reference: paired ranks, counted, and all that they say of a metric.

Every row draws from its own generator, made from the policy's seed and the row's name: no row
depends on which others there are, nor on the order of users.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation import metrics, statistics
from recctl.evaluation.statistics import Counted, Interval
from recctl.promotion.judge.checks import Judged
from recctl.promotion.judge.gate import Gate, Outcome
from recctl.promotion.judge.policy import PromotionParams
from recctl.render.numbers import change, figure

TAIL = 0.025
"""Each one-sided claim may be wrong this often."""
SLACK = 1e-12
"""Rounding that a limit forgives."""
_TABLE = 2**22
"""Cells of the largest table of rank pairs that is counted directly."""


@dataclass(frozen=True)
class Pairs:
    """How often each pair of ranks occurs, the challenger's beside a reference's.

    Ranks beyond every cutoff are one rank, so that a cutoff of 10 makes a table of 11 x 11 cells,
    whatever the users: every mean, interval and p-value of the pair is made from it.
    """

    catalogue: int
    new: NDArray[np.int64]
    old: NDArray[np.int64]
    counts: NDArray[np.int64]
    """(cells,) each"""

    @property
    def users(self) -> int:
        return int(self.counts.sum())

    def differences(self, metric: str) -> Counted:
        """Challenger minus reference, per user, counted."""
        gained = metrics.per_case(metric, self.new, self.catalogue)
        return statistics.counted(
            gained - metrics.per_case(metric, self.old, self.catalogue), self.counts
        )

    def values(self, metric: str) -> Counted:
        """The challenger's own values, counted."""
        return statistics.counted(metrics.per_case(metric, self.new, self.catalogue), self.counts)

    def means(self, metric: str) -> tuple[float, float]:
        """The challenger's mean and the reference's."""
        sides = (metrics.per_case(metric, side, self.catalogue) for side in (self.new, self.old))
        new, old = (float(self.counts @ side) / self.users for side in sides)
        return new, old


class Counter:
    """Counts rank pairs of the challenger with others; ranks are clipped once per model."""

    def __init__(self, judged: Judged, names: list[str]) -> None:
        self.judged = judged
        cutoffs = [metrics.parse(name)[1] or judged.catalogue for name in names]
        self.beyond = min(max(cutoffs), judged.catalogue) + 1
        self._values: NDArray[np.int64] | None = None
        self._base = self.beyond + 1
        if self._base**2 > np.iinfo(np.int64).max:  # a pair's code would not fit: number the ranks
            every = np.concatenate([*judged.ranks.values(), *judged.baselines.values()])
            self._values = np.unique(np.minimum(every, self.beyond))
            self._base = len(self._values)
        self._new = self._numbered(judged.ranks["challenger"])

    def pairs(self, reference: NDArray[np.int64]) -> Pairs:
        """The table over all users."""
        return self._table(self._codes(reference))

    def by_slice(self, reference: NDArray[np.int64]) -> dict[int, Pairs]:
        """The tables over each slice that has users, by the slice's place."""
        codes = self._codes(reference)
        places = [i for i, one in enumerate(self.judged.slices) if one.users]
        return {i: self._table(codes[self.judged.slices[i].members]) for i in places}

    def _numbered(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        clipped = np.minimum(ranks, self.beyond)
        return clipped if self._values is None else np.searchsorted(self._values, clipped)

    def _codes(self, reference: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._new * self._base + self._numbered(reference)

    def _table(self, codes: NDArray[np.int64]) -> Pairs:
        if self._base**2 <= _TABLE:
            every = np.bincount(codes)
            cells = np.flatnonzero(every)
            counts = every[cells]
        else:
            cells, counts = np.unique(codes, return_counts=True)
        new, old = np.divmod(cells, self._base)
        if self._values is not None:
            new, old = self._values[new], self._values[old]
        return Pairs(self.judged.catalogue, new, old, counts)


@dataclass(frozen=True)
class Comparison:
    """A challenger against a reference by one metric."""

    metric: str
    new: float
    old: float
    difference: Interval
    sample: Counted
    """The users' differences."""
    means: NDArray[np.float64]
    """Bootstrap means of the difference; (resamples,)"""
    p_value: float
    users: int
    details: dict[str, float]

    def better(self, gain: float = 0.0, level: float = TAIL) -> bool:
        """Proven to gain more than this, at a one-sided level below the usual one where given."""
        usual = self.difference.low > gain and self.p_value <= 2 * TAIL
        return usual and (level >= TAIL or self.tail(gain) <= level)

    def tail(self, gain: float) -> float:
        """One-sided p-value of the true mean being at most `gain`, exact enough in the far tail."""
        return statistics.sign_flip_tail(self.sample, gain)

    def not_worse(self, margin: float) -> bool:
        """Proven not to lose as much as the margin."""
        return self.difference.low > -margin

    def failed(self, margin: float) -> str:
        """Why it is not: it is worse, or that is not known."""
        if self.difference.high < -margin:
            return f"worse by more than {figure(margin)}"
        return f"not proven to be no worse: a loss of {figure(margin)} or more cannot be ruled out"

    @property
    def said(self) -> str:
        return change(self.difference.value, self.difference.low, self.difference.high)

    def row(self, gate: str, name: str, outcome: Outcome, reason: str, threshold: float) -> Gate:
        """The row that shows this comparison."""
        return Gate(
            gate,
            name,
            outcome,
            reason,
            challenger=self.new,
            reference=self.old,
            difference=self.difference.value,
            low=self.difference.low,
            high=self.difference.high,
            threshold=threshold,
            p_value=self.p_value,
            users=self.users,
            details=dict(self.details),
        )


def generator(policy: PromotionParams, gate: str, name: str) -> np.random.Generator:
    """A row's own random generator."""
    return np.random.default_rng([policy.seed, zlib.crc32(f"{gate}/{name}".encode())])


def compare(pairs: Pairs, metric: str, policy: PromotionParams, gate: str, name: str) -> Comparison:
    """Everything that paired ranks say about one metric."""
    rng = generator(policy, gate, name)
    sample = pairs.differences(metric)
    means = statistics.bootstrap_means(sample, policy.resamples, rng)
    p_value = statistics.sign_flip_p(sample, policy.resamples, rng)
    effect = statistics.effect_size(sample)
    details = {"resolvable": statistics.resolvable(sample)}
    if effect is not None:
        details["effect_size"] = effect
    difference = statistics.interval_of(means, sample)
    new, old = pairs.means(metric)
    return Comparison(metric, new, old, difference, sample, means, p_value, sample.users, details)
