"""Judge a challenger against the registry's versions, and what it is trained into afterwards."""

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from recctl.errors import Unknown, UserError
from recctl.promotion.draft import draft, measured
from recctl.promotion.judge.decision import RULES, decide
from recctl.promotion.judge.evidence import Use
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger import aliases, log
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.register import Judged
from recctl.promotion.trial import contenders, refit, service
from recctl.promotion.trial.scoring import Contender, TestSet, disagreement, gather
from recctl.render.console import Console
from recctl.render.text import Say

Step = Callable[[str, Callable[[], Contender]], Contender]
"""Carries out a step that takes long, under its name."""


def judge(
    registry: Registry,
    policy: PromotionParams,
    test: TestSet,
    challenger: Contender,
    state: aliases.Serving,
    process: service.Process | None,
    say: Say,
    use: Use | None = None,
) -> Judged:
    """Score the challenger and those it is held against, and decide; nothing is written."""
    layout, sides, problems = test.layout, {"challenger": challenger}, []
    numbers = {"champion": state.says["champion"]}
    if policy.ratchet is not None and state.says["best"] != state.says["champion"]:
        numbers["best"] = state.wanted["best"]
    for name, number in numbers.items():
        if number is not None:
            try:
                sides[name] = contenders.registered(registry, layout, number, state.line)
            except Unknown:
                raise
            except UserError as error:
                problems.append(f"the {name} cannot be judged: {error}")
    problems += _objections(registry, state, test, sides)
    evidence = gather(test, policy, sides, problems=problems, say=say)
    evidence = service.tried(process, policy, test, sides, evidence, say)
    training = None
    if challenger.version is None:
        training = contenders.training(layout)
        if (differs := disagreement(test, evidence.challenger)) is not None:
            problems.append(differs)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    days = log.days_since_judged(state.line, now, test.data.until)
    evidence = dataclasses.replace(
        evidence, training=training, problems=problems, days=days, use=use
    )
    decision = decide(evidence, policy)
    record = draft(
        "promotion",
        policy.registered_model,
        time=now,
        rules=RULES,
        verdict=decision.verdict,
        sentence=decision.sentence,
        gates=decision.gates,
        saw=state.aliases,
        previous=state.head,
        acknowledges=state.broken,
        **measured(layout, policy, test, sides, evidence),
    )
    return Judged(policy, test, sides, evidence, record)


def _objections(
    registry: Registry, state: aliases.Serving, test: TestSet, sides: dict[str, Contender]
) -> Iterator[str]:
    """Why the challenger must not be judged, whatever its figures."""
    digest = sides["challenger"].digest
    for known in [one.number for one in registry.versions() if one.digest == digest]:
        if known in log.retired(state.line):
            yield f"this model is version {known}, trained on users who were forgotten: train again"
        left = _taken_out(state.line, known)
        if left is None:
            continue
        yield (
            f"this model is version {known}, which decision {left.position} took out of "
            f"service ({left.content.get('reason')}); train another one, or --force it with a "
            "--reason"
        )
    if "champion" in sides:
        index = sides["champion"].served.vocabulary.index
        if not any(item in index for item in test.vocabulary.items):
            yield (
                f"the champion, version {sides['champion'].version}, knows no item of today's "
                "catalogue: it is of another task; set promotion.registered_model to another name"
            )


def _taken_out(line: list[Entry], number: int) -> Entry | None:
    """The rollback that took a version out of service, unless it has served again since."""
    found = None
    for entry in log.moving(line):
        if (entry.sets or {}).get("champion") == number:
            found = None
        elif entry.content.get("kind") == "rollback" and entry.saw.get("champion") == number:
            found = entry
    return found


def train_again(judged: Judged, step: Step, say: Say) -> Judged:
    """The same challenger once it was trained again on everything, with the rows of that."""
    challenger = judged.sides["challenger"]
    say("it passed: training it again on everything, what was held out too")

    def training() -> Contender:
        return refit.trained(judged.test, challenger, Console(stderr=True))

    again = step("refit", training)
    found = refit.checked(judged.test, judged.policy, again, say)
    evidence = dataclasses.replace(judged.evidence, refit=found)
    decision = decide(evidence, judged.policy)
    record = judged.record.but(
        verdict=decision.verdict, sentence=decision.sentence, gates=decision.gates
    )
    if decision.verdict != judged.record.verdict:
        record = record.but(approved_by=None)
    sides = {**judged.sides, "challenger": again}
    return dataclasses.replace(judged, sides=sides, evidence=evidence, record=record)
