"""The decision of a retraining: taken once for a key, and found again by later retrainings."""

from recctl.errors import MayPass
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.assess import Step
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.ledger import log
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.promote import Confirm, Declined, promote, settled
from recctl.render.text import Say
from recctl.retraining.record import Record

_TRIES = 3
"""How often a stale decision is retried; each time another decision came first."""


def found(layout: Layout, key: str, say: Say) -> tuple[Record, DecisionRecord] | None:
    """The decision that was taken for this key, by this project or another worker; None if none.

    A promotion that was recorded and not carried out is finished first. Stale decisions and
    refusals are not found: the cause of a refusal may be fixed by now.
    """
    registry = history.open_registry(layout)
    entry = _newest(registry, key)
    if entry is None:
        return None
    if entry.state == "pending":
        settled(registry, layout, say, False)
    assert entry.record is not None
    return _record(key, entry.record, entry.position), entry.record


def _newest(registry: Registry, key: str) -> Entry | None:
    """The newest decision in force that was taken for this key."""
    for entry in reversed(log.in_force(registry.entries())):
        decision = entry.record
        if decision is None or entry.altered or decision.verdict in ("stale", "refused"):
            continue
        if decision.key == key:
            return entry
    return None


def preview(layout: Layout, say: Say) -> DecisionRecord | None:
    """The decision as it would be taken now; None where the model serves already."""
    return promote(layout, confirm=lambda record: True, say=say, dry_run=True).record


def decide(
    layout: Layout, key: str, say: Say, *, approve: Confirm, step: Step
) -> tuple[Record, DecisionRecord | None]:
    """Judge the workspace's model and let it serve if it passed and `approve` says yes.

    Raises MayPass where others' decisions came first each time.
    """
    for _ in range(_TRIES):
        before = found(layout, key, say)
        if before is not None:
            return before
        try:
            outcome = promote(layout, confirm=approve, say=say, key=key, step=step)
        except Declined:
            return Record(key, "decided", "not-promoted", "its promotion was not approved"), None
        if outcome.record is None:
            assert outcome.note is not None
            return Record(key, "decided", "unchanged", outcome.note), None
        assert outcome.entry is not None
        decision = outcome.record
        if decision.verdict != "stale":
            return _record(key, decision, outcome.entry.position), decision
        say(decision.sentence)
    raise MayPass(decision.sentence, "the next retraining decides again")


def _record(key: str, decision: DecisionRecord, position: int) -> Record:
    return Record(
        key=key,
        state="decided",
        ending=None if decision.verdict == "stale" else decision.verdict,
        sentence=decision.sentence,
        version=decision.challenger.version if decision.challenger else None,
        position=position,
    )
