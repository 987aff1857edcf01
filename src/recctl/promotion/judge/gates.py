"""The gates: one small function each, from checked evidence and policy to rows of a decision.

What "better" and "not worse" mean here, and what it costs:

- Better than a reference: the lower end of the 95% paired bootstrap interval is above the gain
  asked for, and the sign-flip p-value is at most 5%. The second says the same on a large test set
  and guards a tiny one, where every bootstrap mean of three gains is a gain.
- Not worse: the lower end is above minus the margin (non-inferiority). A test set too small to
  decide does not pass: the gate fails closed.
- The primary gate asks that one of m metrics be better. Each errs with 2.5% (one tail of 95%), so
  that of m metrics, by Bonferroni, at most m x 2.5% of challengers that are truly equal by all of
  them pass: 5% for the two of the default policy. That none may be worse makes it less. With a
  yearly budget (`budget.py`) the level is what has accrued since the decision before, if less.
- A slice whose users cannot resolve the margin (with 80% power) would often fail by chance. Where
  nothing is proven either way it says so and decides nothing.
- Slices must all hold, so no correction is needed to keep the verdict's error at 2.5%. Their
  p-values are adjusted by Holm all the same: the rows are read one by one, and together they are
  to be wrong about any slice with at most 2.5%. It costs power: of m slices the one that is least
  sure of its side needs p <= 2.5%, the surest p <= 2.5% / m. Hence a margin wider than primary's.
- A floor holds where the lower end of the challenger's own interval reaches it. It is a promise
  about users to come, of whom the test set is a sample; it costs 1.96 standard errors.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recctl.evaluation import statistics
from recctl.evaluation.slices import Slice
from recctl.promotion.judge import budget
from recctl.promotion.judge.comparison import (
    SLACK,
    TAIL,
    Comparison,
    Counter,
    Pairs,
    compare,
    generator,
)
from recctl.promotion.judge.gate import Gate, Outcome
from recctl.promotion.judge.policy import PromotionParams
from recctl.render.numbers import figure, label, percent


def primary(pairs: Pairs, policy: PromotionParams, days: float | None = None) -> list[Gate]:
    """Against the champion: no metric worse, one better at the level that accrued over `days`.

    A metric that is proven to fall, if by less than the margin, must be paid for by a proven gain
    in a metric that the policy names before it. Without that, on a test set so large that
    everything is proven, two models could each replace the other for ever.
    """
    if policy.primary is None:
        return []
    found = [compare(pairs, name, policy, "primary", name) for name in policy.primary.metrics]
    gain, level = policy.primary.min_gain, _level(policy, days)
    rows = [_primary_row(one, gain, policy.primary.margin, level) for one in found]
    if not policy.primary.better:
        return rows
    return [*rows, *_level_row(policy, days, level), _one_better(found, gain, level)]


def _level(policy: PromotionParams, days: float | None) -> float:
    """The one-sided level at which each metric must be better."""
    if policy.unreasoned_per_year is None or days is None:
        return TAIL
    return min(TAIL, budget.level(policy.unreasoned_per_year, days, len(policy.metrics)))


def _level_row(policy: PromotionParams, days: float | None, level: float) -> list[Gate]:
    """The level, where the policy has a yearly budget."""
    yearly, claims = policy.unreasoned_per_year, len(policy.metrics)
    if yearly is None:
        return []
    if days is None:
        said = f"no decision before this one: a metric is better at the usual {percent(level)}"
        return [Gate("primary", "level", "shown", said, threshold=level)]
    said = (
        f"a metric is better where its one-sided p-value is at most {percent(level)}: "
        f"{yearly:g} promotions without reason a year, {days:,.2f} days since the decision before"
        f"{f', shared by {claims} metrics' if claims > 1 else ''}"
    )
    return [Gate("primary", "level", "shown", said, threshold=level, details={"days": days})]


def _primary_row(found: Comparison, gain: float, margin: float, level: float) -> Gate:
    name = label(found.metric)
    if not found.not_worse(margin):
        said = f"{name} {found.said} is {found.failed(margin)}"
        if found.difference.high >= -margin:
            said += f" (this test set resolves {figure(found.details['resolvable'])})"
        return found.row("primary", found.metric, "fail", said, -margin)
    better = found.better(gain, level)
    said = f"{name} {found.said} is {'better' if better else 'not worse'}"
    row = found.row("primary", found.metric, "pass", said, -margin)
    details = {**row.details, "better": float(better)}
    if level < TAIL:
        details["p_not_better"] = found.tail(gain)
    return replace(row, details=details)


def _one_better(found: list[Comparison], gain: float, level: float) -> Gate:
    better = [one.metric for one in found if one.better(gain, level)]
    name = "better in one"
    names = " and ".join(label(one.metric) for one in found)
    least = min((one.details["resolvable"] for one in found), default=0.0)
    if not better:
        asked = f" by more than {figure(gain)}" if gain else ""
        said = f"not proven better{asked} in {names.replace(' and ', ' or ')} "
        if any(one.better(gain) for one in found):
            tail = min(one.tail(gain) for one in found)
            said += f"at the level that has accrued, {percent(level)} (p-value {percent(tail)})"
        else:
            said += f"(this test set resolves differences of {figure(least)} and more)"
        return Gate("primary", name, "fail", said, threshold=gain)
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
    """The challenger's own interval must not go below any floor."""
    return [_floor(pairs, metric, least, policy) for metric, least in (policy.floors or {}).items()]


def _floor(pairs: Pairs, metric: str, least: float, policy: PromotionParams) -> Gate:
    own = _own(pairs, "floors", metric, policy)
    held = own.low is not None and own.low >= least
    said = f"{own.reason} {'holds' if held else 'is not proven to hold'} the floor {figure(least)}"
    return replace(own, outcome="pass" if held else "fail", reason=said, threshold=least)


def _own(pairs: Pairs, gate: str, metric: str, policy: PromotionParams) -> Gate:
    """A row of the challenger's own figure with its interval, shown."""
    sample, rng = pairs.values(metric), generator(policy, gate, metric)
    own = statistics.interval_of(statistics.bootstrap_means(sample, policy.resamples, rng), sample)
    return Gate(
        gate,
        metric,
        "shown",
        f"{label(metric)} {figure(own.value)} [{figure(own.low)}, {figure(own.high)}]",
        challenger=own.value,
        low=own.low,
        high=own.high,
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

    A group too small to judge is shown, and so is one whose users cannot resolve the margin, unless
    it is proven to lose. One that holds every user is judged by the primary gate.
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
            said = _undecided(found[place], margin, held[place][1], lost[place][1])
        if said is not None:
            rows.append(_shown_slice(group, found.get(place), said, margin))
        else:
            rows.append(_slice(group, found[place], *held[place], margin, len(judged)))
    return rows


def _adjusted(raw: dict[int, float]) -> dict[int, tuple[float, float]]:
    """Each p-value with Holm's."""
    values = list(raw.values())
    return dict(zip(raw, zip(values, statistics.holm(values), strict=True), strict=True))


def _undecided(found: Comparison, margin: float, held: float, lost: float) -> str | None:
    """Why a slice cannot resolve the margin; None where it can, or a loss is proven."""
    resolvable = found.details["resolvable"]
    if min(held, lost) <= TAIL or resolvable <= margin:
        return None
    return (
        f"{found.users:,} users are too few to decide: they resolve {figure(resolvable)}, and the "
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


def suspicious_gain(pairs: Pairs, policy: PromotionParams) -> list[Gate]:
    """A relative gain over the champion that is too good to be true."""
    if policy.suspicious_gain is None:
        return []
    return [_suspicious(pairs, metric, policy.suspicious_gain) for metric in policy.metrics]


def _suspicious(pairs: Pairs, metric: str, limit: float) -> Gate:
    new, old = pairs.means(metric)
    relative = (new - old) / old if old > 0 else None
    too_good = new > 0 if relative is None else relative > limit + SLACK
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


def alone(counter: Counter, policy: PromotionParams) -> list[Gate]:
    """A first model's own figures and, by the best baseline, its gain: shown, nothing judges it."""
    pairs = counter.pairs(counter.judged.ranks["challenger"])
    return [_alone(pairs, counter, metric, policy) for metric in policy.metrics]


def _alone(pairs: Pairs, counter: Counter, metric: str, policy: PromotionParams) -> Gate:
    own = _own(pairs, "primary", metric, policy)
    said = own.reason
    others = {
        name: counter.pairs(ranks).means(metric)[1]
        for name, ranks in counter.judged.baselines.items()
    }
    best = max(others, key=others.__getitem__, default=None)
    if best is not None and others[best] > 0 and own.challenger is not None:
        said += f", {own.challenger / others[best] - 1:+.0%} against the best baseline ({best})"
    return replace(own, reason=f"{said}; there is no champion to compare with")


def first_model(rows: list[Gate], policy: PromotionParams) -> list[Gate]:
    """What the policy says of a model where no champion serves; other rows given, all returned."""
    if policy.first_model == "any":
        rows = [_only_shown(row) for row in rows]
        said = "no champion serves yet, and the policy takes any sound first model"
        return [*rows, _first("pass", said)]
    if policy.first_model == "none":
        said = "the policy promotes no first model automatically: promote it with --force --reason"
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
