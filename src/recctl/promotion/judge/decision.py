"""The verdict on a challenger: pure, from evidence and policy, failing closed."""

from pydantic.dataclasses import dataclass

from recctl.promotion.judge import checks, gates, guardrails
from recctl.promotion.judge.comparison import Counter, Pairs
from recctl.promotion.judge.evidence import Evidence
from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import Verdict
from recctl.render.numbers import change, figure, label

__all__ = ["RULES", "Decision", "Verdict", "decide"]

RULES = 1
"""Kept with every decision: raise it when the same evidence and policy come to mean another
verdict, so that decisions taken before are not called wrong."""

_SAID = 2
"""Reasons that the sentence of a decision gives; the table has them all."""
_JUDGES = (
    "primary",
    "floors",
    "baselines",
    "slices",
    "guardrails",
    "ratchet",
    "online",
    "first_model",
)
"""Gates whose passing says something for the challenger; the others only say nothing against it."""


@dataclass(frozen=True)
class Decision:
    """A verdict, all gates behind it, and one sentence that says why."""

    verdict: Verdict
    gates: list[Gate]
    sentence: str


def decide(evidence: Evidence, policy: PromotionParams) -> Decision:
    """Judge a challenger; the same evidence and policy always give the same decision.

    One refused row refuses: what cannot be judged is not promoted. Then one suspicious row makes
    the verdict suspicious even where other gates fail: what makes a gain too good to be true (a
    leak, a wrong split) may cause those failures too. Then one failed row rejects. A challenger
    that no gate judged is refused. One that passed is provisional where the policy asks for its
    confirmation. Never raises for bad evidence.
    """
    rows, judged = checks.checked(evidence, policy)
    if judged is not None:
        counter = Counter(judged, [*policy.metrics, *(policy.floors or {})])
        rows += _against(counter, evidence, policy) if "champion" in judged.ranks else []
        rows += [] if "champion" in judged.ranks else _first(counter, evidence, policy)
        rows += _nothing_judged(rows)
    verdict = _verdict(rows)
    if verdict == "promoted" and policy.confirmation and evidence.champion is not None:
        verdict = "provisional"
        said = (
            f"it serves once it is not worse on later events of {policy.confirmation.users:,} users"
        )
        if policy.online is not None:
            said += ", and in use users do not prefer the champion"
        rows.append(Gate("confirmation", "later events", "shown", said))
    return Decision(verdict, rows, f"{verdict}: {_why(verdict, rows)}")


def _against(counter: Counter, evidence: Evidence, policy: PromotionParams) -> list[Gate]:
    """All gates, where a champion serves."""
    champion = counter.judged.ranks["champion"]
    pairs = counter.pairs(champion)
    return [
        *gates.primary(pairs, policy, evidence.days),
        *gates.slices(counter, champion, policy),
        *gates.floors(pairs, policy),
        *gates.baselines(counter, policy),
        *gates.ratchet(_best(counter) or _no_stricter_primary(pairs, policy), policy),
        *guardrails.guardrails(evidence, policy),
        *guardrails.serving(evidence.serving, policy),
        *gates.suspicious_gain(pairs, policy),
        *guardrails.convergence(evidence.training, policy),
        *guardrails.refit(evidence.refit, policy),
        *guardrails.online(evidence.use, policy),
    ]


def _first(counter: Counter, evidence: Evidence, policy: PromotionParams) -> list[Gate]:
    """The gates that a first model can meet, and what the policy says of first models."""
    own, best = counter.pairs(counter.judged.ranks["challenger"]), _best(counter)
    rows = [
        *gates.alone(counter, policy),
        *gates.floors(own, policy),
        *gates.baselines(counter, policy),
        *(gates.ratchet(best, policy) if best is not None else []),
        *guardrails.serving(evidence.serving, policy),
        *guardrails.convergence(evidence.training, policy),
        *guardrails.refit(evidence.refit, policy),
    ]
    return gates.first_model(rows, policy)


def _best(counter: Counter) -> Pairs | None:
    best = counter.judged.ranks.get("best")
    return None if best is None else counter.pairs(best)


def _no_stricter_primary(pairs: Pairs, policy: PromotionParams) -> Pairs | None:
    """The champion as the best version so far; None where the primary gate holds it already."""
    if policy.primary is None or policy.ratchet is None:
        return pairs
    return pairs if policy.primary.margin > policy.ratchet.margin else None


def _nothing_judged(rows: list[Gate]) -> list[Gate]:
    if any(row.gate in _JUDGES and row.outcome != "shown" for row in rows):
        return []
    said = "no gate of the policy judged the challenger: nothing speaks for it"
    return [Gate("evidence", "policy", "refused", said)]


def _verdict(rows: list[Gate]) -> Verdict:
    outcomes = {row.outcome for row in rows}
    if "refused" in outcomes:
        return "refused"
    if "suspicious" in outcomes:
        return "suspicious"
    return "rejected" if "fail" in outcomes else "promoted"


def _why(verdict: Verdict, rows: list[Gate]) -> str:
    if verdict == "promoted":
        return _promoted(rows)
    if verdict == "provisional":
        return f"{rows[-1].reason}; {_promoted(rows)}"
    deciding = {"refused": "refused", "suspicious": "suspicious", "rejected": "fail"}[verdict]
    reasons = [row.reason for row in rows if row.outcome == deciding]
    more = len(reasons) - _SAID
    others = f"; and {more} more" if more > 0 else ""
    return "; ".join(reasons[:_SAID]) + others + "."


def _promoted(rows: list[Gate]) -> str:
    passed = sum(row.outcome == "pass" for row in rows)
    figures = [row for row in rows if row.gate == "primary" and row.challenger is not None]
    said = ", ".join(_figures(row) for row in figures) or "no figure was compared"
    first = "first model, " if any(row.gate == "first_model" for row in rows) else ""
    return f"{first}{said}; {passed} gates passed."


def _figures(row: Gate) -> str:
    assert row.challenger is not None
    name = label(row.name)
    if row.reference is None or row.difference is None or row.low is None or row.high is None:
        return f"{name} {figure(row.challenger)}"
    said = change(row.difference, row.low, row.high)
    if row.details.get("better"):
        return f"{name} {figure(row.challenger)} against {figure(row.reference)} ({said})"
    return f"{name} not worse ({said})"
