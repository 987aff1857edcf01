"""Rollback: the champion before this one serves again. It is a decision like any other."""

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion.draft import contender, draft, workspace_lineage
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import EvidenceFiles
from recctl.promotion.ledger import aliases
from recctl.promotion.ledger.log import Entry, moving, retired
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.vouch import served
from recctl.promotion.promote import Confirm, Outcome, approved, check_reason, settled, write
from recctl.promotion.trial import contenders
from recctl.render.text import Say


def rollback(
    layout: Layout,
    *,
    reason: str,
    to: int | None,
    confirm: Confirm,
    say: Say,
    force: bool = False,
) -> Outcome:
    """Let an earlier version serve: the former champion, or the version named.

    Only what a decision of this log once let serve, unless it is forced. Raises UserError when
    there is none, or when its files are not sound; nothing is changed then.
    """
    check_reason(reason, "a rollback")
    policy = PromotionParams.load(layout.params)
    registry = Registry.connect(layout, policy.registered_model)
    before = aliases.serving(registry)
    # naming a version is also the way out where the log cannot be followed
    state = before if to is not None else settled(registry, layout, say, force=True)
    for one in state.broken:
        say(f"the decision log is damaged: {one}")
    if to is None and _interrupted(before) and not _moved_since(before, state):
        return _finished(state)
    target = to if to is not None else state.wanted["previous"]
    if target is None:
        raise UserError(
            f"no champion of '{registry.name}' served before this one",
            "name the version that is to serve: --to VERSION ('recctl models list')",
        )
    serves = state.aliases["champion"]
    if target == serves == state.says["champion"]:
        if _interrupted(state):
            settled(registry, layout, say, force=True)
            return _finished(state)
        raise UserError(f"version {target} is the champion already", "name another version")
    chosen = contenders.registered(registry, layout, target, state.line)
    new = target not in served(state.line)
    if new and not force:
        raise UserError(
            f"version {target} never served: no decision of this log promoted it",
            "name one that did ('recctl history'), judge it by 'recctl promote', or give --force",
        )
    if target in retired(state.line) and not force:
        raise UserError(
            f"version {target} is retired: it was trained on users who were forgotten since",
            "name another one ('recctl models list'), or give --force",
        )
    what = f"rolled back from version {serves} to version {target}"
    if target == serves:
        what = f"version {target}, to which the alias was moved by hand, is kept"
    record = draft(
        "rollback",
        registry.name,
        sentence=f"{what}: {reason}",
        forced=new or target in retired(state.line),
        reason=reason,
        previous=state.head,
        saw=state.aliases,
        acknowledges=state.broken,
        sets=_after(state, target),
        challenger=contender(chosen),
        lineage=workspace_lineage(layout),
    )
    agreed = approved(record, confirm)
    if agreed is None:
        raise UserError("not rolled back: declined", "nothing was changed")
    run_id = registry.decision_run("rollback", {"recctl.sentence": record.sentence})
    evidence = EvidenceFiles(run_id=run_id, files={})
    return write(layout, registry, agreed.but(evidence=evidence), run_id, say)


def _interrupted(state: aliases.Serving) -> bool:
    """Whether a rollback is recorded and not carried out: asking again asks for the same one."""
    latest = state.latest
    return state.pending and latest is not None and latest.content.get("kind") == "rollback"


def _moved_since(before: aliases.Serving, now: aliases.Serving) -> bool:
    return len(moving(now.line)) > len(moving(before.line))


def _finished(state: aliases.Serving) -> Outcome:
    assert state.latest is not None
    note = f"decision {state.latest.position}, a rollback that was interrupted, is finished: "
    return Outcome(None, note=f"{note}version {state.says['champion']} serves")


def _after(state: aliases.Serving, target: int) -> dict[str, int | None]:
    """Where the aliases point when `target` serves again.

    The champions form a stack: a promotion lays one on top, a rollback takes off all above its
    target. So a second rollback goes further back, not to the one just left. The best version
    goes back to what it was when the target was promoted: what was rolled back is no measure.
    """
    stack = champions(moving(state.line))
    if target not in [champion for champion, _ in stack]:
        hand = state.aliases["champion"] == target
        previous = state.wanted["champion"] if hand else state.aliases["champion"]
        return {**state.wanted, "champion": target, "previous": previous}
    while stack[-1][0] != target:
        stack.pop()
    previous = stack[-2][0] if len(stack) > 1 else None
    if previous in retired(state.line):
        previous = None
    return {"champion": target, "previous": previous, "best": stack[-1][1]}


def champions(moves: list[Entry]) -> list[tuple[int | None, int | None]]:
    """The stack of champions, each with the best version at that time; the last one serves."""
    stack: list[tuple[int | None, int | None]] = []
    for entry in moves:
        if entry.state == "undone" or entry.sets is None:
            continue
        champion, best = entry.sets["champion"], entry.sets["best"]
        places = [place for place, (number, _) in enumerate(stack) if number == champion]
        if entry.content.get("kind") != "promotion" and places:
            del stack[places[-1] + 1 :]  # the last time it served, not the first
        else:
            stack.append((champion, best))
    return stack
