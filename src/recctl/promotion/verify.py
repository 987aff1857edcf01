"""Whether log, aliases, versions and evidence fit together; what does not, in plain words."""

import math
from collections.abc import Iterator

from recctl.errors import Unknown, UserError, type_of
from recctl.layout import Layout
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.ledger import aliases, log, vouch
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.trial import archive, contenders
from recctl.promotion.view.schema import Check


def verify(registry: Registry, layout: Layout, *, everything: bool = False) -> list[Check]:
    """All checks; changes nothing.

    Versions and evidence are checked for what serves and could serve again (champion, previous,
    best) and for the newest decision; with `everything` for all that there is.

    Raises Unknown where one of them could not be read.
    """
    state = aliases.serving(registry)
    line = state.line
    return [
        _chain(state),
        _pending(line),
        _aliases(state),
        _named(registry, state),
        *_versions(registry, layout, state, everything),
        *_evidence(registry, line, everything),
    ]


def _check(name: str, wrong: list[str], fine: str) -> Check:
    return Check(name=name, ok=not wrong, detail="; ".join(wrong) or fine)


def _chain(state: aliases.Serving) -> Check:
    line = state.line
    void = len(state.entries) - len(line)
    fine = f"{len(line)} decisions in one chain"
    if line:
        fine += f", the last one's sha256 is {line[-1].claimed[:16]}..."
    if void:
        fine += f"; {void} more came too late and count for nothing"
    accepted = [one for one in log.broken(state.entries, state.noted) if one not in state.broken]
    if accepted:
        fine += f"; damaged, and accepted in a later decision: {'; '.join(accepted)}"
    return _check("decision log", state.broken, fine)


def _pending(line: list[Entry]) -> Check:
    waiting = [
        f"decision {one.position} was not carried out to its end: run 'recctl promote', which "
        "finishes it"
        for one in log.moving(line)[-1:]
        if one.state == "pending"
    ]
    return _check("interrupted changes", waiting, "none")


def _aliases(state: aliases.Serving) -> Check:
    wrong = [
        f"'{name}' points to {_which(now)} and the log says {_which(state.says[name])}"
        for name, now in state.aliases.items()
        if now != state.wanted[name]
    ]
    if state.says["champion"] in state.deleted:
        wrong = [
            f"version {state.says['champion']}, the champion, was deleted: no model serves; run "
            "'recctl rollback --to VERSION --reason ...'"
        ]
    where = ", ".join(f"{name} {_which(now)}" for name, now in state.aliases.items())
    return _check("aliases", wrong, f"as the log says: {where}")


def _named(registry: Registry, state: aliases.Serving) -> Check:
    """Versions are named by number: it must still be the content that was decided upon."""
    objections = [vouch.objection(state.line, one) for one in registry.versions()]
    wrong = [one for one in objections if one is not None]
    return _check("decided versions", wrong, "each is what was decided upon, by its tags")


def _which(number: int | None) -> str:
    return "none" if number is None else f"version {number}"


def _versions(
    registry: Registry, layout: Layout, state: aliases.Serving, everything: bool
) -> Iterator[Check]:
    there = {one.number for one in registry.versions()}
    wanted = {number for number in state.aliases.values() if number is not None}
    if everything:
        wanted |= there
    for number in sorted(wanted):
        try:
            contenders.registered(registry, layout, number, state.line)
            wrong = []
        except Unknown as error:
            raise _unchecked(f"version {number}", error) from None
        except UserError as error:
            wrong = [str(error)]
        fine = f"every file is as it was registered; {vouch.covers(state.line, number)}"
        yield _check(f"version {number}", wrong, fine)
    served = {(entry.sets or {}).get("champion") for entry in log.moving(state.line)}
    gone = sorted(number for number in served - there - wanted if number is not None)
    if gone:
        numbers = ", ".join(map(str, gone))
        detail = f"gone from the registry: {numbers}; they served once and cannot again"
        yield _check("former champions", [], detail)


def _evidence(registry: Registry, line: list[Entry], everything: bool) -> Iterator[Check]:
    judged = [one for one in line if one.record and one.record.kind == "promotion"]
    for one in judged if everything else judged[-1:]:
        try:
            erased = log.erased(line, one.position)
            same, sentence = archive.repeat(registry, one.record, erased)
        except Unknown as error:
            raise _unchecked(f"decision {one.position}", error) from None
        wrong = [] if same else [sentence]
        if (differs := _spent(line[: line.index(one)], one.record)) is not None:
            wrong.append(differs)
        yield _check(f"decision {one.position}", wrong, sentence)


def _spent(before: list[Entry], record: DecisionRecord | None) -> str | None:
    """Why the days by which a decision's level was computed are not those of the log."""
    rows = record.of("primary") if record else []
    claimed = next((row.details["days"] for row in rows if "days" in row.details), None)
    if record is None or claimed is None:
        return None
    until = record.lineage.data_until if record.lineage else None
    days = log.days_since_judged(before, record.time, until)
    if days is not None and math.isclose(days, claimed, abs_tol=1e-6):
        return None
    return f"its level was computed for {claimed:g} days since the decision before, not {days}"


def _unchecked(what: str, error: Unknown) -> UserError:
    """Nothing is known to be wrong, so no check failed."""
    return type_of(error)(f"{what} could not be checked: {error}")
