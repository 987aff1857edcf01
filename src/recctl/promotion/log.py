"""The decision log: append-only, chained by hashes, its order given by the registry.

MLflow's registry has no compare-and-set, but it numbers the versions of a registered model: a new
one gets the next number, once, in one transaction, on every backend. So the log is a registered
model whose versions are the entries. Each entry names the digest of the entry that its writer saw
last. An entry that lands directly after the one it names is *in force*; one that finds another
entry before it came too late and is *void*: nobody ever acts on it. All readers agree, for they
read the same order. Aliases are only a picture of the log (see `apply.py`).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SCHEMA = 1
"""Of an entry's body; raise it when a key changes its meaning."""


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
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.body)
        return content


def canonical(content: dict[str, Any]) -> str:
    """JSON with sorted keys and no spaces; NaN is refused."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(body: str) -> str:
    """The sha256 of a body, in hex."""
    return hashlib.sha256(body.encode()).hexdigest()


def in_force(entries: Iterable[Entry]) -> list[Entry]:
    """The entries that count, in their order."""
    found: list[Entry] = []
    head: str | None = None
    for entry in sorted(entries, key=lambda one: one.position):
        if entry.content.get("previous") == head:
            found.append(entry)
            head = entry.claimed
    return found
