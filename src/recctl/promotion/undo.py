"""Rollback where the champion is proven worse in use than the champion before."""

from recctl.layout import Layout
from recctl.online import report
from recctl.promotion import history
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger import aliases
from recctl.promotion.promote import Outcome
from recctl.promotion.rollback import rollback
from recctl.promotion.view import words
from recctl.render.text import Say


def wanted(layout: Layout) -> bool:
    """Whether the policy asks for it."""
    return PromotionParams.load(layout.params).rollback


def by_clicks(layout: Layout, say: Say) -> Outcome | None:
    """Roll back where users prefer the champion before; None without that, or if it is not wanted.

    Only lists since the champion serves count, so that a person's later decision is not undone by
    what was known before. Raises UserError as `report.read` and `rollback` do.
    """
    if not wanted(layout):
        return None
    state = aliases.serving(history.open_registry(layout))
    found = words.serving([history.row(entry, in_force=True) for entry in state.line])
    before = state.wanted["previous"]
    if found is None or before is None or not state.agree:
        return None
    champion, row = found
    try:
        use = report.read(layout, row.position)
    except report.NothingKept:
        return None
    for one in use.interleaved:
        if (one.champion, one.challenger, one.better) == (champion, before, before):
            return back(layout, champion, before, one.sentence, say)
    return None


def back(layout: Layout, champion: int, before: int, sentence: str, say: Say) -> Outcome | None:
    """Roll a champion back; None where it serves no longer. Raises UserError as `rollback` does."""
    if aliases.serving(history.open_registry(layout)).wanted["champion"] != champion:
        return None  # another process of the service was first
    reason = f"by use: {sentence}"
    return rollback(layout, reason=reason, to=before, confirm=lambda record: True, say=say)
