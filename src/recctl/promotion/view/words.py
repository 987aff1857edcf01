"""A decision in words and figures: titles, verdicts, sides, notes; tables and pages share them."""

from collections.abc import Sequence

from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.record import Contender, DecisionRecord
from recctl.promotion.view.schema import HistoryRow, ModelVersion
from recctl.render.numbers import bounds, count, figure
from recctl.render.text import one_line

OUTCOMES = {
    "pass": "pass",
    "fail": "FAIL",
    "suspicious": "SUSPICIOUS",
    "refused": "REFUSED",
    "shown": "shown",
}
"""An outcome in words that differ without colour."""


def title(record: DecisionRecord, position: int | None) -> str:
    """`Decision 7: promotion of recommender, REJECTED`; without a number where it is not kept."""
    model = one_line(record.registered_model)
    if record.kind == "comparison":
        first, second = side(record.challenger), side(record.champion)
        return f"Comparison of {model}: {first} and {second}"
    name = "Decision, not kept" if position is None else f"Decision {position}"
    return f"{name}: {record.kind} of {model}, {verdict(record, position)}"


def verdict(record: DecisionRecord, position: int | None) -> str:
    """The verdict in capitals; `WOULD BE` precedes one that is not in the log."""
    if record.kind == "recovery":  # its verdict is that of the promotion it undid
        return "RECOVERED"
    if record.kind == "forget":
        return "STALE" if record.verdict == "stale" else "FORGOTTEN"
    given: str = record.verdict or "promoted"
    if given != "promoted" and not record.forced:
        return given.upper()
    done = "ROLLED BACK" if record.kind == "rollback" else "PROMOTED"
    done += " BY FORCE" if record.forced else ""
    return done if position is not None else f"WOULD BE {done}"


def side(model: Contender | None) -> str:
    """`bert4rec, version 4`; `the workspace` where it is not registered."""
    if model is None:
        return "none"
    where = "the workspace" if model.version is None else f"version {model.version}"
    return f"{one_line(model.model)}, {where}"


def sides(record: DecisionRecord) -> dict[str, str]:
    """What people call challenger and champion; in a comparison each by its version."""
    if record.kind != "comparison":
        return {"challenger": "challenger", "champion": "champion"}
    models = {"challenger": record.challenger, "champion": record.champion}
    return {
        name: "workspace" if model is None or model.version is None else f"version {model.version}"
        for name, model in models.items()
    }


def circumstances(record: DecisionRecord) -> list[str]:
    """What was judged, on what, who ran it and when: the lines below the title."""
    lines = [] if record.kind == "comparison" else [_contenders(record)]
    if record.users:
        lines.append(_test_set(record))
    lines.append(f"{when(record.time)} UTC by {one_line(record.who)}")
    if record.approved_by:
        lines.append(f"approved by {one_line(record.approved_by)}")
    if record.reason:
        lines.append(f"reason given: {one_line(record.reason)}")
    return [*lines, *(f"acknowledged: {one_line(damage)}" for damage in record.acknowledges)]


def _contenders(record: DecisionRecord) -> str:
    """The challenger and the champion; for a rollback what served before."""
    before, move = record.champion_before, moves(record)
    served = "none yet" if before is None else f"version {before}"
    if record.kind == "promotion":
        champion = side(record.champion) if record.champion else served
        text = f"challenger: {side(record.challenger)}; champion: {champion}"
    else:
        text = f"champion: {served}"
    return f"{text}; the alias moves from {move}" if move else text


def _test_set(record: DecisionRecord) -> str:
    text = f"{count(record.users)} test users, {count(record.catalogue)} items"
    common = record.common_catalogue
    return text if common is None else f"{text}, {common:,} of them known to both"


def moves(record: DecisionRecord) -> str:
    """`3 to 4`: the champion's version before and after; empty where nothing moves."""
    if record.sets is None:
        return ""
    return f"{number(record.champion_before)} to {number(record.sets.champion)}"


def remarks(record: DecisionRecord) -> list[str]:
    """Sentences of the primary gate: of rows without a difference and of those that fail."""
    return [
        f"{OUTCOMES[gate.outcome]}: {one_line(gate.reason)}"
        for gate in record.of("primary")
        if gate.difference is None or gate.outcome not in ("pass", "shown")
    ]


def sentence(record: DecisionRecord) -> str:
    """The sentence without the verdict's word, which precedes it everywhere."""
    text = one_line(record.sentence)
    if record.forced:
        return f"judged {text}" if record.kind == "promotion" else text
    return text.removeprefix(f"{record.verdict}: ")


def row_verdict(row: HistoryRow, record: DecisionRecord) -> str:
    """The verdict with whether it counts: `PROMOTED`, `PROMOTED, void`."""
    marks = [verdict(record, row.position)]
    marks += [] if row.in_force else ["void"]
    marks += [row.state] if row.state != "done" else []
    return ", ".join(marks)


def row_notes(row: HistoryRow) -> list[str]:
    """What a person wrote about a decision, and why it does not count, if so."""
    if row.body is None:
        damage = "it was altered, or recctl did not write it; see 'recctl verify'"
        return [f"decision {row.position}: cannot be read: {damage}"]
    reason, approver = row.body.reason, row.body.approved_by
    notes = [one_line(reason)] if reason else []
    if approver and approver != row.body.who.rpartition("@")[0]:  # beside who ran it
        notes.append(f"approved by {one_line(approver)}")
    return [f"decision {row.position}: {note}" for note in [*notes, *standing(row)]]


def standing(row: HistoryRow) -> list[str]:
    """Why a decision does not count, in words; empty for one that is done."""
    if not row.in_force:
        return ["void: another decision came first; this one has no effect"]
    if row.body is None or row.body.sets is None:
        return []
    states = {
        "pending": "pending: the aliases do not follow it yet; 'recctl promote' finishes it",
        "undone": "undone: the aliases never followed it, or no longer do",
    }
    return [states[row.state]] if row.state in states else []


def served(rows: Sequence[HistoryRow]) -> list[tuple[int | None, HistoryRow]]:
    """The versions that served by the log, each with the decision since which; None: none did."""
    found: list[tuple[int | None, HistoryRow]] = []
    for row in rows:
        if row.in_force and row.body is not None and row.body.sets is not None:
            number = row.body.sets.champion
            if number != (found[-1][0] if found else None):
                found.append((number, row))
    return found


def serving(rows: Sequence[HistoryRow]) -> tuple[int, HistoryRow] | None:
    """The version that serves by the log, and the decision since which it does; None: none."""
    for number, row in reversed(served(rows)):
        return None if number is None else (number, row)
    return None


def commit(origin: ModelVersion | DecisionRecord) -> str:
    """The commit, with `(dirty)` where the work tree held uncommitted changes."""
    source = origin.lineage if isinstance(origin, DecisionRecord) else origin
    if source is None:
        return "-"
    dirty = str(source.dirty).lower() == "true"
    return brief(source.commit) + (" (dirty)" if dirty else "")


def number(version: int | None) -> str:
    """A version's number, or `none`."""
    return "none" if version is None else str(version)


def interval(gate: Gate) -> str:
    """`[-.0012, +.0145]`, or `-` where none was computed."""
    return bounds(gate.low, gate.high)


def p_value(value: float | None) -> str:
    """`p .0123`; empty where none was computed."""
    if value is None:
        return ""
    return "p < .0001" if value < 0.0001 else f"p {figure(value, 4)}"


def detail(word: str, gate: Gate, name: str, digits: int) -> str:
    """A further figure of a gate with its word; empty where it was not computed."""
    value = gate.details.get(name)
    return "" if value is None else f"{word} {figure(value, digits)}"


def when(time: str) -> str:
    """An ISO time to the minute.

    >>> when("2026-03-01T12:34:56.789+00:00")
    '2026-03-01 12:34'
    """
    return one_line(time)[:16].replace("T", " ")


def brief(digest: str | None) -> str:
    """The first twelve characters of a digest."""
    return one_line(digest)[:12] if digest else "-"
