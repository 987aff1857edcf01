"""Whether the evidence can be judged at all, and the evidence in a form in which it can.

Nothing here raises for bad evidence: what does not hold becomes a refused row with its reason.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recctl import limits
from recctl.evaluation.slices import Slice
from recctl.promotion.judge.evidence import Evidence, Scored
from recctl.promotion.judge.gate import Gate, Outcome
from recctl.promotion.judge.policy import PromotionParams
from recctl.render.numbers import percent

FEWEST_USERS = 6
"""Of five users even unanimous gains have a two-sided sign-flip p-value of 2 / 2**5 = 6.25%: fewer
than six can prove nothing, whatever their ranks."""

_GATES = {"primary", "floors", "baselines", "slices", "guardrails", "suspicious_gain", "ratchet"}
_GATES |= {"serving", "refit", "convergence", "leak"}


@dataclass(frozen=True)
class Judged:
    """Evidence that holds: every model's ranks by the same users, in the same order."""

    catalogue: int
    users: int
    ranks: dict[str, NDArray[np.int64]]
    """By `challenger`, `champion`, `best`; (users,)"""
    baselines: dict[str, NDArray[np.int64]]
    """By name; (users,)"""
    slices: list[Slice]


def checked(evidence: Evidence, policy: PromotionParams) -> tuple[list[Gate], Judged | None]:
    """The rows of the evidence and leak checks; no Judged where one of them refuses."""
    rows = [*_problems(evidence), *_policy(evidence, policy), *_protocol(evidence)]
    if rows:
        return rows, None
    rows, judged = _aligned(evidence)
    if judged is None:
        return rows, None
    leaks, kept = leak(evidence, policy)
    rows += leaks
    if refused(rows):
        return rows, None
    return rows, _without(judged, kept)


def refused(rows: list[Gate]) -> bool:
    """Whether any row refuses."""
    return any(row.outcome == "refused" for row in rows)


def _refuse(name: str, reason: str) -> Gate:
    return Gate("evidence", name, "refused", reason)


def _problems(evidence: Evidence) -> list[Gate]:
    return [_refuse("gathering", problem) for problem in evidence.problems]


def _policy(evidence: Evidence, policy: PromotionParams) -> list[Gate]:
    """An empty policy refuses: by nothing, nothing is proven."""
    gates = policy.model_dump(include=_GATES)
    limits_set = [limit for limit in (gates.pop("guardrails") or {}).values() if limit is not None]
    if limits_set or any(gates.values()):
        return []
    said = "the promotion section of params.yaml turns every gate off: turn one on"
    return [_refuse("policy", said)]


def models(evidence: Evidence) -> dict[str, Scored]:
    """Every model that was scored, by the name that reasons give it."""
    baselines = {f"baseline {name}": scored for name, scored in evidence.baselines.items()}
    return {**evidence.models, **baselines}


def _protocol(evidence: Evidence) -> list[Gate]:
    """Today's users are a set, the catalogue has items, every fingerprint is today's."""
    rows = []
    users = np.asarray(evidence.users)
    if not _whole(users) or (np.diff(users.astype(np.int64)) <= 0).any():
        rows.append(_refuse("users", "today's test users are not a list of distinct user numbers"))
    elif len(users) < FEWEST_USERS:
        rows.append(
            _refuse(
                "users",
                f"the test set has {len(users)} users: fewer than {FEWEST_USERS} prove nothing, "
                "whatever their ranks",
            )
        )
    if evidence.catalogue < 1:
        rows.append(_refuse("catalogue", "today's catalogue has no items"))
    if evidence.catalogue > limits.RANKED:
        rows.append(
            _refuse("catalogue", f"today's catalogue has more than {limits.RANKED:,} items")
        )
    for name, scored in models(evidence).items():
        if not evidence.fingerprint or scored.fingerprint != evidence.fingerprint:
            rows.append(
                _refuse(
                    name,
                    f"the {name} was scored under protocol {scored.fingerprint[:12] or 'unknown'} "
                    f"and today's is {evidence.fingerprint[:12] or 'unknown'}: "
                    "two protocols are never compared",
                )
            )
    return rows


def _aligned(evidence: Evidence) -> tuple[list[Gate], Judged | None]:
    """Ranks of all models in the order of the test users; rows where that cannot be had."""
    rows, ranks = [], {}
    for name, scored in models(evidence).items():
        found = _ranks(scored, evidence)
        if isinstance(found, str):
            rows.append(_refuse(name, f"the {name}{found}"))
        else:
            ranks[name] = found
    shape = evidence.users.shape
    for one in evidence.slices:
        if not _mask(one.members, shape):
            rows.append(
                _refuse(f"{one.name}: {one.group}", "the slice does not fit the test users")
            )
    if rows:
        return rows, None
    held = Gate(
        "evidence",
        "evidence",
        "pass",
        f"every model was ranked on the same {len(evidence.users):,} users and targets, "
        "under one protocol",
        users=len(evidence.users),
    )
    baselines = {name: ranks.pop(f"baseline {name}") for name in evidence.baselines}
    judged = Judged(int(evidence.catalogue), shape[0], ranks, baselines, list(evidence.slices))
    return [held], judged


def _ranks(scored: Scored, evidence: Evidence) -> NDArray[np.int64] | str:
    """A model's ranks in the order of the test users, or what is wrong with them."""
    users, ranks = np.asarray(scored.users), np.asarray(scored.ranks)
    if not _whole(users) or ranks.ndim != 1 or ranks.dtype.kind not in "iuf":
        return " has users or ranks that are not numbers"
    if len(users) != len(ranks):
        return f" has {len(ranks):,} ranks for {len(users):,} users"
    order = np.argsort(users, kind="stable")
    users, ranks = users[order], ranks[order]
    if (wrong := _users(users, evidence.users)) is not None:
        return wrong
    bad = ~((ranks >= 1) & (ranks <= int(evidence.catalogue) + 1))  # NaN is in no range
    bad[~bad] = ranks[~bad] != np.floor(ranks[~bad])
    if bad.any():
        return (
            f" has {int(bad.sum()):,} ranks that are not whole numbers from 1 to "
            f"{int(evidence.catalogue) + 1:,}, such as {ranks[bad][0]}"
        )
    return ranks.astype(np.int64)


def _users(given: NDArray[np.int64], expected: NDArray[np.int64]) -> str | None:
    """What differs between a model's users, sorted, and the test users."""
    if np.array_equal(given, expected):
        return None
    twice = int((np.diff(given) == 0).sum())
    if twice:
        return f" has {twice:,} users more than once"
    missing = len(np.setdiff1d(expected, given))
    more = len(np.setdiff1d(given, expected))
    return f" lacks {missing:,} of the {len(expected):,} test users and has {more:,} others"


def _whole(array: NDArray[np.int64]) -> bool:
    return array.ndim == 1 and array.dtype.kind in "iu"


def _mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> bool:
    return isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == shape


def leak(evidence: Evidence, policy: PromotionParams) -> tuple[list[Gate], NDArray[np.bool_]]:
    """Rows of the leak gate, and which users stay when those that leak are left out for all."""
    everyone = np.ones(len(evidence.users), np.bool_)
    if policy.leak is None:
        said = "the gate is off: whether a model was trained on today's targets was not checked"
        return [Gate("leak", "all models", "shown", said)], everyone
    measures = ("challenger", "champion", *(["best"] if policy.ratchet is not None else []))
    judged = [name for name in measures if name in evidence.models]
    rows = [_leak_of(name, evidence, policy.leak.excluded_share) for name in judged]
    if refused(rows):
        return rows, everyone
    kept = ~np.any([evidence.leaks[name] for name in judged], axis=0)
    rows.append(_left_out(kept, policy.leak.excluded_share))
    return rows, kept


def _leak_of(name: str, evidence: Evidence, allowed: float) -> Gate:
    mask = evidence.leaks.get(name)
    if mask is None or not _mask(mask, evidence.users.shape):
        said = f"no record of what the {name} was trained on: it could not be checked for leaks"
        return Gate("leak", name, "refused", said, threshold=allowed)
    share, users = float(mask.mean()), int(mask.sum())
    said = f"no target of today is among the {name}'s training interactions"
    if users:
        remedy = _LEAK_CURES[name] if share > allowed else "they are left out for every model"
        said = (
            f"the {name} may have been trained on the targets of {users:,} of {len(mask):,} test "
            f"users ({percent(share)}, allowed {percent(allowed)}): {remedy}"
        )
    outcome: Outcome = "refused" if share > allowed else "pass"
    return _leak_row(name, outcome, said, allowed, users, share)


def _leak_row(
    name: str, outcome: Outcome, reason: str, allowed: float, users: int, share: float
) -> Gate:
    details: dict[str, float | None] = {"share": share}
    return Gate("leak", name, outcome, reason, threshold=allowed, users=users, details=details)


_RAISE = "raise promotion.leak.excluded_share where interactions are deleted regularly"
_LEAK_CURES = {
    "challenger": f"train it again on today's split, or {_RAISE}",
    "champion": "it cannot be compared on today's test set; train its settings again on today's "
    "split and promote that, or promote the challenger as a new first model with --force --reason, "
    f"or {_RAISE}",
    "best": "it cannot be compared on today's test set; turn promotion.ratchet off for once, or "
    f"{_RAISE}",
}


def _left_out(kept: NDArray[np.bool_], allowed: float) -> Gate:
    """Of all models together: each may leak other users."""
    left_out, share = int((~kept).sum()), float((~kept).mean())
    held = share <= allowed
    said = (
        f"{left_out:,} of {len(kept):,} test users ({percent(share)}) are left out for every model"
    )
    if not held:
        said += f", more than {percent(allowed)}: {_RAISE}"
    elif left_out and kept.sum() < FEWEST_USERS:
        held, said = False, f"{said}: too few stay"
    outcome: Outcome = "pass" if held else "refused"
    return _leak_row("users left out", outcome, said, allowed, left_out, share)


def _without(judged: Judged, kept: NDArray[np.bool_]) -> Judged:
    if kept.all():
        return judged
    return Judged(
        judged.catalogue,
        int(kept.sum()),
        {name: ranks[kept] for name, ranks in judged.ranks.items()},
        {name: ranks[kept] for name, ranks in judged.baselines.items()},
        [replace(one, members=one.members[kept]) for one in judged.slices],
    )
