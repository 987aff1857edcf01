"""The decision of a retraining: taken once for a key, found again by whoever comes later."""

from collections.abc import Callable
from typing import Any

from recctl.errors import MayPass
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger import log
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.promote import Confirm, Declined, promote, settled
from recctl.retraining.record import Record

Body = dict[str, Any]
Say = Callable[[str], None]

_TRIES = 3
"""Decisions that come too late are taken again; each time somebody else's came first."""


def found(layout: Layout, key: str, say: Say) -> tuple[Record, Body] | None:
    """The decision that was taken for this key, by this project or another worker; None if none.

    A promotion that was written down and not carried out is finished first. What decided nothing is
    not found: a decision that came too late, and a refusal, whose cause may be mended by now.
    """
    registry = history.open_registry(layout)
    entry = _newest(registry, key)
    if entry is None:
        return None
    if entry.state == "pending":
        settled(registry, layout, say, False)
    return _record(key, entry.content, entry.position), entry.content


def _newest(registry: Registry, key: str) -> Entry | None:
    """The newest decision in force that was taken for this key."""
    for entry in reversed(log.in_force(registry.entries())):
        body = entry.content
        decided = body.get("verdict") not in ("stale", "refused")
        if body.get("key") == key and decided and not entry.altered:
            return entry
    return None


def preview(layout: Layout, say: Say) -> Body | None:
    """The decision as it would be taken now; None where the model serves already."""
    return promote(layout, confirm=lambda body: True, say=say, dry_run=True).body


def decide(layout: Layout, key: str, say: Say, *, approve: Confirm) -> tuple[Record, Body | None]:
    """Judge the workspace's model and let it serve if it passed and `approve` says yes.

    Raises MayPass where others' decisions came first each time.
    """
    for _ in range(_TRIES):
        before = found(layout, key, say)
        if before is not None:
            return before
        try:
            outcome = promote(layout, confirm=approve, say=say, key=key)
        except Declined:
            return Record(key, "decided", "not-promoted", "nobody said that it may serve"), None
        if outcome.body is None:
            assert outcome.note is not None
            return Record(key, "decided", "unchanged", outcome.note), None
        assert outcome.entry is not None
        record = _record(key, outcome.body, outcome.entry.position)
        if outcome.body["verdict"] != "stale":
            return record, outcome.body
        say(record.sentence)
    raise MayPass(record.sentence, "it is decided again by the next retraining")


def _record(key: str, body: Body, position: int) -> Record:
    challenger = body.get("challenger") or {}
    return Record(
        key=key,
        state="decided",
        ending=body["verdict"],
        sentence=body["sentence"],
        version=challenger.get("version"),
        position=position,
    )
