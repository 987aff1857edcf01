"""What must not break while accuracy rises, whether it serves, whether its trainings went well."""

import math
from collections.abc import Callable
from dataclasses import replace

from recctl.online import interval
from recctl.promotion.judge.comparison import SLACK
from recctl.promotion.judge.evidence import Conduct, Evidence, Refit, Serving, Training, Use
from recctl.promotion.judge.gate import Gate, Outcome
from recctl.promotion.judge.policy import Primary, PromotionParams
from recctl.render.numbers import figure, label, percent, signed
from recctl.training import curve

FAST_MS = 20.0
"""A recommendation below this is fast enough, however fast the champion's is."""
SMALL_BYTES = 50_000_000.0
"""Weights below this are small enough, however small the champion's are."""


def guardrails(evidence: Evidence, policy: PromotionParams) -> list[Gate]:
    """What must not break, against the champion; a figure that is missing refuses."""
    if policy.guardrails is None:
        return []
    new, old = (evidence.conduct.get(name, Conduct()) for name in ("challenger", "champion"))
    limits = policy.guardrails
    served = evidence.serving is None or evidence.serving.failure is None or not policy.serving
    slower = limits.latency_ratio if served else None  # else the gate `serving` fails
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
        _guardrail("p95 latency", new.latency_p95_ms, old.latency_p95_ms, slower, _latency),
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
    row = Gate("guardrails", name, outcome, said, challenger=float(new), threshold=limit)
    if judge is _overlap:  # a figure of both models: there is no champion's
        return row
    return replace(row, reference=float(old), difference=float(new) - float(old))


def _coverage(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"lists cover {percent(new)} of the catalogue, the champion's {percent(old)}"
    return old - new <= limit * old + SLACK, f"{said}; at most {percent(limit)} of it may be lost"


def _popularity(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"popularity bias {figure(new)} against {figure(old)} ({signed(new - old)})"
    return new - old <= limit + SLACK, f"{said}; it may rise by {figure(limit)}"


def _overlap(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"{percent(new)} of a user's list of ten stays as the champion's"
    return limit - SLACK <= new <= old + SLACK, f"{said}; at least {percent(limit)} must"


def _latency(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"p95 of a recommendation {new:.1f} ms against {old:.1f} ms"
    if new < FAST_MS:
        return True, f"{said}; below {FAST_MS:.0f} ms is fast enough"
    return new <= limit * old + SLACK, f"{said}; at most {limit:g} times as long is allowed"


def _size(new: float, old: float, limit: float) -> tuple[bool, str]:
    said = f"{new / 1e6:,.1f} MB of weights against {old / 1e6:,.1f} MB"
    if new < SMALL_BYTES:
        return True, f"{said}; below {SMALL_BYTES / 1e6:.0f} MB is small enough"
    return new <= limit * old + SLACK, f"{said}; at most {limit:g} times as many are allowed"


def serving(found: Serving | None, policy: PromotionParams) -> list[Gate]:
    """The service must have answered golden requests as offline ranking does."""
    if not policy.serving:
        return []
    if found is None:
        said = "the challenger was not tried in the service's own code"
        return [Gate("serving", "answers", "refused", said)]
    if found.failure is not None:
        return [Gate("serving", "answers", "fail", found.failure)]
    said = f"the service answered {found.requests:,} requests as offline ranking does"
    return [Gate("serving", "answers", "pass", said)]


def refit(found: Refit | None, policy: PromotionParams) -> list[Gate]:
    """What was trained again on everything must be much as judged, and have learnt more."""
    if policy.refit is None or found is None:
        return []
    rows = [_refit_lists(found, policy.refit.minimum_overlap)]
    margin = (policy.primary or Primary()).margin
    for metric in policy.metrics:
        judged, again = found.means["judged"][metric], found.means["again"][metric]
        said = f"{label(metric)} {figure(again)} on targets that it has learnt by now, judged "
        said += f"{figure(judged)} (at most {figure(margin)} less is allowed)"
        outcome: Outcome = "pass" if again - judged >= -margin - SLACK else "fail"
        row = Gate("refit", metric, outcome, said, challenger=again, reference=judged)
        rows.append(replace(row, difference=again - judged, threshold=-margin))
    if found.failure is not None:
        rows.append(Gate("refit", "answers", "fail", found.failure))
    return rows


def _refit_lists(found: Refit, least: float) -> Gate:
    overlap = found.overlap or 0.0
    more = f", {found.new_items:,} new items among them" if found.new_items else ""
    said = (
        f"trained again on all {found.interactions:,} interactions{more}: {percent(overlap)} of "
        f"each list is as judged (at least {percent(least)} needed)"
    )
    outcome: Outcome = "pass" if overlap >= least else "fail"
    return Gate("refit", "lists", outcome, said, challenger=overlap, threshold=least)


def online(found: Use | None, policy: PromotionParams) -> list[Gate]:
    """Users must not prefer the champion; asked once the version was shown, not before."""
    if policy.online is None or policy.confirmation is not None:
        return []
    if found is None:
        said = "nothing is known of its use"
        return [Gate("online", "preferred", "refused", said)]
    decided, least = found.wins + found.losses, 0.5 - policy.online.margin
    low, high = interval.preferred(found.wins, found.losses)
    said = f"of {decided:,} users who clicked more items of one version {found.wins:,} preferred "
    said += f"this one ({percent(low)} to {percent(high)}; above {percent(least)} needed)"
    share = found.wins / decided if decided else None
    outcome: Outcome = "pass" if low > least and high >= 0.5 else "fail"
    row = Gate("online", "preferred", outcome, said, challenger=share, threshold=least)
    return [replace(row, low=low, high=high, users=decided)]


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
