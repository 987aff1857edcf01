"""The gates: one small function each, from checked evidence and policy to rows of a decision.

What "better" and "not worse" mean here, and what it costs:

- Better than a reference: the lower end of the 95% paired bootstrap interval lies above the gain
  asked for, and the sign-flip p-value is at most 5%. The second says the same on a large test set
  and guards a tiny one, where every bootstrap mean of three gains is a gain.
- Not worse: the lower end lies above minus the margin (non-inferiority). A test set too small to
  tell does not pass: it fails closed.
- The primary gate asks that one of m metrics be better. Each errs with 2.5% (one tail of 95%), so
  that of m metrics, by Bonferroni, at most m x 2.5% of challengers that are truly equal by all of
  them pass: 5% for the two of the default policy. That none may be worse makes it less.
- A slice whose users cannot resolve the margin (with 80% power) would often fail by chance. Where
  nothing is proven either way it says so and decides nothing.
- Slices must all hold, so no correction is needed to keep the verdict's error at 2.5%. Their
  p-values are adjusted by Holm all the same: the rows are read one by one, and together they are
  to be wrong about any slice with at most 2.5%. It costs power: of m slices the one that is least
  sure of its side needs p <= 2.5%, the surest p <= 2.5% / m. Hence a margin wider than primary's.
- A floor holds where the lower end of the challenger's own interval reaches it. It is a promise
  about users to come, of whom the test set is a sample; it costs 1.96 standard errors.

Every row draws from a generator of its own, made from the policy's seed and the row's name: no row
hangs on which others there are, nor on the order of users.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation import metrics, statistics
from recctl.evaluation.slices import Slice
from recctl.evaluation.statistics import Counted, Interval
from recctl.promotion.judge.checks import Judged
from recctl.promotion.judge.evidence import Conduct, Evidence, Training
from recctl.promotion.judge.gate import Gate, Outcome, change, figure, label, percent, signed
from recctl.promotion.judge.policy import PromotionParams
from recctl.training import curve

TAIL = 0.025
"""Each one-sided claim may be wrong this often."""
FAST_MS = 20.0
"""A recommendation below this is fast enough, however fast the champion's is."""
SMALL_BYTES = 50_000_000.0
"""Weights below this are small enough, however small the champion's are."""
_SLACK = 1e-12
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
    means: NDArray[np.float64]
    """Bootstrap means of the difference; (resamples,)"""
    p_value: float
    users: int
    details: dict[str, float]

    def better(self, gain: float = 0.0) -> bool:
        """Proven to gain more than this."""
        return self.difference.low > gain and self.p_value <= 2 * TAIL

    def not_worse(self, margin: float) -> bool:
        """Proven not to lose as much as the margin."""
        return self.difference.low > -margin

    def failed(self, margin: float) -> str:
        """Why it is not: it is worse, or that cannot be told."""
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
    """A row's own source of chance."""
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
    return Comparison(metric, new, old, difference, means, p_value, sample.users, details)


def primary(pairs: Pairs, policy: PromotionParams) -> list[Gate]:
    """Against the champion: no metric worse, one better.

    A metric that is proven to fall, if by less than the margin, must be paid for by a proven gain
    in a metric that the policy names before it. Without that, on a test set so large that
    everything is proven, two models could each replace the other for ever.
    """
    if policy.primary is None:
        return []
    found = [compare(pairs, name, policy, "primary", name) for name in policy.primary.metrics]
    rows = [_primary_row(one, policy.primary.min_gain, policy.primary.margin) for one in found]
    return [*rows, _one_better(found, policy.primary.min_gain)]


def _primary_row(found: Comparison, gain: float, margin: float) -> Gate:
    name = label(found.metric)
    if not found.not_worse(margin):
        said = f"{name} {found.said} is {found.failed(margin)}"
        if found.difference.high >= -margin:
            said += f" (this test set resolves {figure(found.details['resolvable'])})"
        return found.row("primary", found.metric, "fail", said, -margin)
    better = found.better(gain)
    said = f"{name} {found.said} is {'better' if better else 'not worse'}"
    row = found.row("primary", found.metric, "pass", said, -margin)
    return replace(row, details={**row.details, "better": float(better)})


def _one_better(found: list[Comparison], gain: float) -> Gate:
    better = [one.metric for one in found if one.better(gain)]
    name = "better in one"
    names = " and ".join(label(one.metric) for one in found)
    least = min((one.details["resolvable"] for one in found), default=0.0)
    if not better:
        asked = f" by more than {figure(gain)}" if gain else ""
        return Gate(
            "primary",
            name,
            "fail",
            f"not proven better{asked} in {names.replace(' and ', ' or ')} "
            f"(this test set resolves differences of {figure(least)} and more)",
            threshold=gain,
        )
    metrics_before: list[str] = []
    for one in found:
        if one.metric in better:
            break
        metrics_before += [one.metric] if one.difference.high < 0 else []
    if metrics_before:
        return Gate(
            "primary",
            name,
            "fail",
            f"{label(better[0])} is better, but {label(metrics_before[0])}, named before it, is "
            "proven to fall",
            threshold=gain,
        )
    said = f"better in {' and '.join(label(metric) for metric in better)}"
    return Gate("primary", name, "pass", said, threshold=gain)


def floors(pairs: Pairs, policy: PromotionParams) -> list[Gate]:
    """The challenger's own interval must lie on or above each floor."""
    return [
        _floor(pairs.values(metric), metric, least, policy)
        for metric, least in (policy.floors or {}).items()
    ]


def _floor(sample: Counted, metric: str, least: float, policy: PromotionParams) -> Gate:
    rng = generator(policy, "floors", metric)
    own = statistics.interval_of(statistics.bootstrap_means(sample, policy.resamples, rng), sample)
    held = own.low >= least
    said = f"{label(metric)} {figure(own.value)} [{figure(own.low)}, {figure(own.high)}] "
    said += (
        f"holds the floor {figure(least)}"
        if held
        else f"is not proven to hold the floor {figure(least)}"
    )
    return Gate(
        "floors",
        metric,
        "pass" if held else "fail",
        said,
        challenger=own.value,
        low=own.low,
        high=own.high,
        threshold=least,
        users=sample.users,
    )


def baselines(counter: Counter, policy: PromotionParams) -> list[Gate]:
    """The challenger must beat each by the first primary metric; the others are shown."""
    rows = []
    for name in policy.baselines or []:
        if name not in counter.judged.baselines:
            said = f"the baseline {name} was not scored: it cannot be seen whether it is beaten"
            rows.append(Gate("baselines", name, "refused", said))
            continue
        pairs = counter.pairs(counter.judged.baselines[name])
        for place, metric in enumerate(policy.metrics):
            rows.append(_baseline(pairs, name, metric, policy, judged=place == 0))
    return rows


def _baseline(
    pairs: Pairs, name: str, metric: str, policy: PromotionParams, *, judged: bool
) -> Gate:
    title = f"{name}: {metric}"
    found = compare(pairs, metric, policy, "baselines", title)
    better = found.better()
    said = f"{label(metric)} {found.said} against {name} is {'' if better else 'not proven '}better"
    outcome: Outcome = "shown" if not judged else "pass" if better else "fail"
    return found.row("baselines", title, outcome, said, 0.0)


def slices(counter: Counter, champion: NDArray[np.int64], policy: PromotionParams) -> list[Gate]:
    """Not worse within any group of users, by the first primary metric; Holm over the groups.

    A group too small to judge is shown, and so is one whose users are too few to tell a loss of the
    margin from none, unless it is proven to lose all the same. One that holds every user is the
    primary gate's.
    """
    if policy.slices is None:
        return []
    groups = counter.judged.slices
    if not groups:
        return [Gate("slices", "slices", "refused", "no slices were given: they cannot be judged")]
    found = {
        place: compare(pairs, policy.metrics[0], policy, "slices", _title(groups[place]))
        for place, pairs in counter.by_slice(champion).items()
    }
    margin = policy.slices.margin
    judged = [place for place in found if _unjudged(counter, groups[place], policy) is None]
    held = _adjusted(
        {place: statistics.p_not_above(found[place].means, -margin) for place in judged}
    )
    lost = _adjusted({place: statistics.p_not_above(-found[place].means, 0.0) for place in judged})
    rows = []
    for place, group in enumerate(groups):
        said = _unjudged(counter, group, policy)
        if said is None:
            said = _untold(found[place], margin, held[place][1], lost[place][1])
        if said is not None:
            rows.append(_shown_slice(group, found.get(place), said, margin))
        else:
            rows.append(_slice(group, found[place], *held[place], margin, len(judged)))
    return rows


def _adjusted(raw: dict[int, float]) -> dict[int, tuple[float, float]]:
    """Each p-value with Holm's."""
    values = list(raw.values())
    return dict(zip(raw, zip(values, statistics.holm(values), strict=True), strict=True))


def _untold(found: Comparison, margin: float, held: float, lost: float) -> str | None:
    """Why a slice cannot tell a loss of the margin from none; None where it can, or has lost."""
    resolvable = found.details["resolvable"]
    if min(held, lost) <= TAIL or resolvable <= margin:
        return None
    return (
        f"{found.users:,} users are too few to tell: they resolve {figure(resolvable)}, and the "
        f"margin is {figure(margin)}"
    )


def _title(group: Slice) -> str:
    return f"{group.name}: {group.group}"


def _unjudged(counter: Counter, group: Slice, policy: PromotionParams) -> str | None:
    """Why a slice decides nothing; None where it does."""
    assert policy.slices is not None
    if group.users < policy.slices.minimum_users:
        return (
            f"{group.users:,} users are too few to judge ({policy.slices.minimum_users:,} needed)"
        )
    if group.users == counter.judged.users and policy.primary is not None:
        return "every test user: judged by the primary gate"
    return None


def _shown_slice(group: Slice, found: Comparison | None, said: str, margin: float) -> Gate:
    if found is None:
        return Gate("slices", _title(group), "shown", "no users", users=0)
    return replace(found.row("slices", _title(group), "shown", said, -margin), p_value=None)


def _slice(
    group: Slice, found: Comparison, p_value: float, p_holm: float, margin: float, judged: int
) -> Gate:
    held = p_holm <= TAIL
    said = f"{label(found.metric)} {found.said} is {'not worse' if held else found.failed(margin)}"
    if not held and found.not_worse(margin):
        said += f" when {judged} slices are judged at once"
    row = found.row("slices", _title(group), "pass" if held else "fail", said, -margin)
    details = {**row.details, "p_holm": p_holm, "slices_judged": float(judged)}
    return replace(row, p_value=p_value, details=details)


def guardrails(evidence: Evidence, policy: PromotionParams) -> list[Gate]:
    """What must not break, against the champion; a figure that is missing refuses."""
    if policy.guardrails is None:
        return []
    new, old = (evidence.conduct.get(name, Conduct()) for name in ("challenger", "champion"))
    limits = policy.guardrails
    rows = [
        _guardrail(
            "catalogue coverage", new.coverage, old.coverage, limits.coverage_loss, _coverage
        ),
        _guardrail(
            "popularity bias",
            new.popularity_bias,
            old.popularity_bias,
            limits.popularity_bias_rise,
            _popularity,
        ),
        _guardrail("overlap", evidence.overlap, 1.0, limits.minimum_overlap, _overlap),
        _guardrail(
            "p95 latency", new.latency_p95_ms, old.latency_p95_ms, limits.latency_ratio, _latency
        ),
        _guardrail("model size", new.weights_bytes, old.weights_bytes, limits.size_ratio, _size),
    ]
    return [row for row in rows if row is not None]


Judge = Callable[[float, float, float], tuple[bool, str]]
"""From the challenger's figure, the champion's and the limit: whether it holds, and a sentence."""


def _guardrail(
    name: str, new: float | None, old: float | None, limit: float | None, judge: Judge
) -> Gate | None:
    if limit is None:
        return None
    for whose, one in (("challenger", new), ("champion", old)):
        negative = one is not None and one < 0 and judge is not _popularity
        if one is None or not math.isfinite(one) or negative:
            said = f"the {whose}'s {name} is not known: it cannot be judged"
            return Gate("guardrails", name, "refused", said, threshold=limit)
    assert new is not None
    assert old is not None
    held, said = judge(float(new), float(old), limit)
    outcome: Outcome = "pass" if held else "fail"
    if name == "overlap":
        return Gate("guardrails", name, outcome, said, challenger=float(new), threshold=limit)
    return Gate(
        "guardrails",
        name,
        outcome,
        said,
        challenger=float(new),
        reference=float(old),
        difference=float(new) - float(old),
        threshold=limit,
    )


def _coverage(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"lists cover {percent(new)} of the catalogue, the champion's {percent(old)}"
    return old - new <= limit * old + _SLACK, f"{said}; at most {percent(limit)} of it may be lost"


def _popularity(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"popularity bias {figure(new)} against {figure(old)} ({signed(new - old)})"
    return new - old <= limit + _SLACK, f"{said}; it may rise by {figure(limit)}"


def _overlap(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"{percent(new)} of a user's list of ten stays as the champion's"
    return limit - _SLACK <= new <= old + _SLACK, f"{said}; at least {percent(limit)} must"


def _latency(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"p95 of a recommendation {new:.1f} ms against {old:.1f} ms"
    if new < FAST_MS:
        return True, f"{said}; below {FAST_MS:.0f} ms is fast enough"
    return new <= limit * old + _SLACK, f"{said}; at most {limit:g} times as long is allowed"


def _size(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"{new / 1e6:,.1f} MB of weights against {old / 1e6:,.1f} MB"
    if new < SMALL_BYTES:
        return True, f"{said}; below {SMALL_BYTES / 1e6:.0f} MB is small enough"
    return new <= limit * old + _SLACK, f"{said}; at most {limit:g} times as many are allowed"


def suspicious_gain(pairs: Pairs, policy: PromotionParams) -> list[Gate]:
    """A relative gain over the champion that is too good to be true."""
    if policy.suspicious_gain is None:
        return []
    return [_suspicious(pairs, metric, policy.suspicious_gain) for metric in policy.metrics]


def _suspicious(pairs: Pairs, metric: str, limit: float) -> Gate:
    new, old = pairs.means(metric)
    relative = (new - old) / old if old > 0 else None
    too_good = new > 0 if relative is None else relative > limit + _SLACK
    share = "from nothing" if relative is None else f"{relative:+.1%}"
    if not too_good:
        said = f"{label(metric)} changes by {'nothing' if relative is None else share}, "
        said += f"not more than {percent(limit)}"
    else:
        said = (
            f"{label(metric)} {figure(new)} against {figure(old)} ({share}) is too good to be true "
            f"(more than {percent(limit)}): look for leaked targets before anything serves"
        )
    return Gate(
        "suspicious_gain",
        metric,
        "suspicious" if too_good else "pass",
        said,
        challenger=new,
        reference=old,
        difference=new - old,
        threshold=limit,
        users=pairs.users,
        details={} if relative is None else {"relative_gain": relative},
    )


def ratchet(best: Pairs | None, policy: PromotionParams) -> list[Gate]:
    """Not worse than the best version ever promoted, by each primary metric."""
    if policy.ratchet is None:
        return []
    if best is None:
        said = "the champion is the best version so far: the primary gate judges against it"
        return [Gate("ratchet", "best version", "shown", said)]
    return [_ratchet(best, metric, policy, policy.ratchet.margin) for metric in policy.metrics]


def _ratchet(best: Pairs, metric: str, policy: PromotionParams, margin: float) -> Gate:
    found = compare(best, metric, policy, "ratchet", metric)
    held = found.not_worse(margin)
    said = f"{label(metric)} {found.said} against the best version ever promoted is "
    said += "not worse" if held else f"not proven to be within {figure(margin)} of it"
    return found.row("ratchet", metric, "pass" if held else "fail", said, -margin)


def convergence(training: Training | None, policy: PromotionParams) -> list[Gate]:
    """Training must have ended because it was done: by its curve, not by the limit of epochs."""
    if not policy.convergence:
        return []
    outcome, said = _converged(training)
    return [Gate("convergence", "training", outcome, said)]


def _converged(training: Training | None) -> tuple[Outcome, str]:
    if training is None:
        return "refused", "nothing is known of how the challenger's training ended"
    if not training.finite:
        return "fail", "a loss on the training curve was not a finite number"
    if training.epochs == 0:
        return "pass", "the model has no epochs"
    at = f"the best epoch was {training.best_epoch} of {training.epochs}"
    more = "raise train.max_epochs and train again"
    if training.end is None:  # evidence of before the curve was kept
        if training.best_epoch_is_cap:
            return "fail", f"{at}, the last one allowed: {more}"
        return "pass", f"{at}, before the cap"
    if training.max_epochs is not None and training.epochs < training.max_epochs:
        return "pass", f"{at}: validation stopped improving, which ended the training"
    if len(training.end) < 2:
        return "fail", f"{at}, and one validation does not show that it had flattened: {more}"
    earlier, later = (figure(mean) for mean in curve.halves(training.end))
    seen = f"over epochs {training.end[0][0]} to {training.end[-1][0]}"
    if curve.still_rises(training.end, training.best_epoch):
        return "fail", (
            f"{at}, the limit, and validation NDCG@10 still rose {seen}, on average from "
            f"{earlier} to {later}: {more}"
        )
    return "pass", f"{at}; validation NDCG@10 had flattened {seen} ({earlier}, then {later})"


def alone(counter: Counter, policy: PromotionParams) -> list[Gate]:
    """A first model's own figures and, by the best baseline, its gain: shown, there is no judge."""
    own = counter.pairs(counter.judged.ranks["challenger"])
    return [_alone(own, counter, metric, policy) for metric in policy.metrics]


def _alone(own: Pairs, counter: Counter, metric: str, policy: PromotionParams) -> Gate:
    sample = own.values(metric)
    rng = generator(policy, "primary", metric)
    found = statistics.interval_of(
        statistics.bootstrap_means(sample, policy.resamples, rng), sample
    )
    said = f"{label(metric)} {figure(found.value)} [{figure(found.low)}, {figure(found.high)}]"
    others = {
        name: counter.pairs(ranks).means(metric)[1]
        for name, ranks in counter.judged.baselines.items()
    }
    best = max(others, key=others.__getitem__, default=None)
    if best is not None and others[best] > 0:
        said += f", {found.value / others[best] - 1:+.0%} against the best baseline ({best})"
    return Gate(
        "primary",
        metric,
        "shown",
        f"{said}; there is no champion to compare with",
        challenger=found.value,
        low=found.low,
        high=found.high,
        users=sample.users,
    )


def first_model(rows: list[Gate], policy: PromotionParams) -> list[Gate]:
    """What the policy says of a model where no champion serves; other rows given, all returned."""
    if policy.first_model == "any":
        rows = [_only_shown(row) for row in rows]
        said = "no champion serves yet, and the policy takes any sound first model"
        return [*rows, _first("pass", said)]
    if policy.first_model == "none":
        said = "the policy promotes no first model by itself: promote it with --force --reason"
        return [*rows, _first("fail", said)]
    held = [row for row in rows if row.gate in ("floors", "baselines") and row.outcome != "shown"]
    if not held:
        said = "no champion serves yet, and neither floors nor baselines are on to prove it by"
        return [*rows, _first("refused", f"{said}: turn one on, or say first_model: any")]
    if any(row.outcome != "pass" for row in held):
        said = "no champion serves yet, and floors and baselines do not all hold"
        return [*rows, _first("fail", said)]
    return [*rows, _first("pass", "no champion serves yet; floors and baselines hold")]


def _first(outcome: Outcome, reason: str) -> Gate:
    return Gate("first_model", "first model", outcome, reason)


def _only_shown(row: Gate) -> Gate:
    if row.gate not in ("floors", "baselines") or row.outcome == "pass":
        return row
    return replace(row, outcome="shown", reason=f"{row.reason} (not judged: first_model is any)")
