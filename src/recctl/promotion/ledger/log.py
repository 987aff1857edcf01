"""The decision log: append-only, chained by hashes, its order given by the registry.

MLflow's registry has no compare-and-set, but it numbers the versions of a registered model: a new
one gets the next number, once, in one transaction, on every backend. So the log is a registered
model whose versions are the entries. Each entry names the digest of the entry that its writer saw
last. An entry that lands directly after the one it names is *in force*; one that finds another
entry before it came too late and is *void*: it never has an effect. All readers agree, for they
read the same order. The aliases follow the log (see `aliases.py`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recctl.promotion.judge.budget import days_since
from recctl.promotion.judge.record import DecisionRecord, Erased

_UNREADABLE = ""
"""What an entry names whose body cannot be read; no digest is empty."""


@dataclass(frozen=True)
class Entry:
    """One entry as the registry keeps it."""

    position: int
    """Its version number: what people call the decision's id."""
    body: str
    """Canonical JSON, exactly as it was hashed."""
    claimed: str
    """The digest stored beside the body."""
    state: str
    """`done` once the aliases follow it, `pending` before, `undone` where they never will."""
    run_id: str | None = None
    """The MLflow run that holds the evidence."""

    @property
    def digest(self) -> str:
        return digest(self.body)

    @property
    def altered(self) -> bool:
        """Whether body and digest do not belong together."""
        return self.digest != self.claimed

    @cached_property
    def content(self) -> dict[str, Any]:
        """The body taken apart; empty where it is not a JSON object."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def record(self) -> DecisionRecord | None:
        """The decision; None where it cannot be read: altered, or not written by recctl."""
        try:
            return DecisionRecord.model_validate_json(self.body)
        except (ValueError, UnicodeEncodeError):
            return None

    @property
    def names(self) -> str | None:
        """The digest of the entry before it, as its writer saw it; None for the first."""
        named = self.content.get("previous", _UNREADABLE)
        return named if named is None or isinstance(named, str) else _UNREADABLE

    @property
    def sets(self) -> dict[str, int | None] | None:
        """Where it moves the aliases; None for an entry that moves nothing."""
        return _aliases(self.content.get("sets"))

    @property
    def saw(self) -> dict[str, int | None]:
        """Where its writer saw the aliases."""
        return _aliases(self.content.get("saw")) or {}


def _aliases(value: Any) -> dict[str, int | None] | None:
    if not isinstance(value, dict):
        return None
    return {str(k): v if isinstance(v, int) else None for k, v in value.items()}


def canonical(content: dict[str, Any]) -> str:
    """JSON with sorted keys and no spaces; NaN is refused."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(body: str) -> str:
    """The sha256 of a body, in hex."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def in_force(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that count, in their order.

    Tampering must not make the rest of the log void. So an altered entry counts when another one
    was written upon it, and one that names an unknown entry counts when an entry before it was
    deleted; `broken` reports both.
    """
    ordered = sorted(entries, key=lambda one: one.position)
    named = {entry.names for entry in ordered} - {_UNREADABLE}
    found: list[Entry] = []
    head: str | None = None
    known: set[str] = set()
    for number, entry in enumerate(ordered, start=1):
        deleted = entry.position > number
        orphan = entry.names not in (None, _UNREADABLE, *known)
        if (
            entry.names == head
            or (entry.altered and entry.claimed in named)
            or (orphan and deleted)
        ):
            found.append(entry)
            head = entry.claimed
        known.add(entry.claimed)
    return found


def moving(line: Sequence[Entry]) -> list[Entry]:
    """Those of the entries in force that move aliases; the last one says who serves."""
    return [entry for entry in line if entry.sets is not None]


def judged(line: Iterable[Entry]) -> DecisionRecord | None:
    """The last decision in force for which a challenger was judged, whoever forced it or not."""
    verdicts = ("promoted", "provisional", "rejected", "suspicious")
    found = None
    for entry in line:
        if entry.record is not None and entry.record.kind == "promotion":
            found = entry.record if entry.record.verdict in verdicts else found
    return found


def days_since_judged(line: Iterable[Entry], now: str, data_until: str | None) -> float | None:
    """The days by which the level of a decision taken `now`, upon this line, is computed."""
    before = judged(line)
    return days_since(before, now, data_until) if before else None


def erased(line: Iterable[Entry], position: int) -> Erased | None:
    """What was erased from the evidence of a decision, all in all; None where nothing was."""
    found = [
        entry.record.erased[str(position)]
        for entry in line
        if entry.record and not entry.altered and str(position) in entry.record.erased
    ]
    users = sum(one.users for one in found)
    return found[-1].but(users=users) if found else None


def retired(line: Iterable[Entry], *, promoting: bool = False) -> set[int]:
    """The versions that may not serve again: trained on users who were forgotten since.

    With `promoting` also those that the next promotion retires.
    """
    found: set[int] = set()
    waiting: set[int] = set()
    for entry in line:
        record = None if entry.altered else entry.record
        if record and record.retire in ("now", "next-promotion"):
            (found if record.retire == "now" else waiting).update(record.trained)
        elif record and record.kind == "promotion" and record.sets:
            found |= waiting - {record.sets.champion}
    return found | waiting if promoting else found


def broken(entries: Iterable[Entry], head: tuple[int, str] | None) -> list[str]:
    """What is wrong with the log, a sentence each; nothing where it is whole.

    `head` is the newest entry in force (position, digest) as the registry remembers it.
    """
    ordered = sorted(entries, key=lambda one: one.position)
    return [*_missing(ordered), *_altered(ordered), *_orphans(ordered), *_cut(ordered, head)]


def acknowledged(line: Iterable[Entry]) -> set[str]:
    """The sentences of `broken` that people have seen and gone on from, with a reason."""
    lists = (entry.content.get("acknowledges") for entry in line)
    return {str(said) for listed in lists if isinstance(listed, list) for said in listed}


def _missing(ordered: Sequence[Entry]) -> Iterator[str]:
    before = 0
    for entry in ordered:
        first, last = before + 1, entry.position - 1
        if first == last:
            yield f"decision {first} has been deleted"
        elif first < last:
            yield f"decisions {first} to {last} have been deleted"
        before = entry.position


def _altered(ordered: Sequence[Entry]) -> Iterator[str]:
    for entry in ordered:
        if not entry.claimed:
            yield f"decision {entry.position} was not written by recctl"
        elif not entry.content:
            yield f"decision {entry.position} cannot be read: it is not a JSON object"
        elif entry.altered:
            yield f"decision {entry.position} has been altered since it was written"


def _orphans(ordered: Sequence[Entry]) -> Iterator[str]:
    """Entries that name one which never was; after a gap it may be what was deleted."""
    known: set[str | None] = {None, _UNREADABLE}
    for number, entry in enumerate(ordered, start=1):
        if entry.names not in known and entry.position == number:
            yield f"decision {entry.position} names one before it that is not in the log"
        known.add(entry.claimed)


def _cut(ordered: Sequence[Entry], head: tuple[int, str] | None) -> Iterator[str]:
    if head is None:
        return
    position, expected = head
    found = next((entry for entry in ordered if entry.position == position), None)
    if found is not None and found.claimed != expected:
        yield f"decision {position} has been replaced by another one"
    if not ordered or ordered[-1].position < position:
        last = ordered[-1].position if ordered else 0
        which = (
            f"decision {position}"
            if position == last + 1
            else f"decisions {last + 1} to {position}"
        )
        yield f"{_CUT_OFF} after decision {last}: {which} existed once"


_CUT_OFF = "the log has been cut off"


def accepts_cut(entry: Entry) -> bool:
    """Whether this decision accepted that entries before it are missing: the log ends with it."""
    listed = entry.content.get("acknowledges")
    return isinstance(listed, list) and any(str(said).startswith(_CUT_OFF) for said in listed)
