"""Rollback where users are proven to prefer the champion before."""

from recctl.layout import Layout
from recctl.monitoring import online
from recctl.monitoring.params import MonitorParams
from recctl.promotion import history
from recctl.promotion.ledger import aliases
from recctl.promotion.promote import Outcome
from recctl.promotion.rollback import rollback
from recctl.promotion.view import words
from recctl.render.text import Say


def undo(layout: Layout, say: Say) -> Outcome | None:
    """The rollback, a decision of the log; None without a reason, or where settings do not ask.

    Only lists since the champion serves count, so that a person's later decision is not undone by
    what was known before. Raises UserError as `online.read` and `rollback` do.
    """
    if not MonitorParams.load(layout.params).rollback:
        return None
    state = aliases.serving(history.open_registry(layout))
    found = words.serving([history.row(entry, in_force=True) for entry in state.line])
    before = state.wanted["previous"]
    if found is None or before is None or not state.agree:
        return None
    champion, row = found
    try:
        report = online.read(layout, row.position)
    except online.NothingKept:
        return None
    for one in report.interleaved:
        if (one.champion, one.challenger, one.better) == (champion, before, before):
            reason = f"by use: {one.sentence}"
            return rollback(layout, reason=reason, to=None, confirm=lambda record: True, say=say)
    return None
