"""Versions of the registered model and entries of the log, as MLflow gives them, and our tags."""

import datetime
import json
import re
from dataclasses import dataclass
from typing import Any

from recctl.promotion.ledger.log import Entry
from recctl.promotion.manifest import AGAIN, Manifest

CONTENT_DIGEST, FILES = "recctl.content_digest", "recctl.files"
DECISION = "recctl.decision"
"""On a version: the newest decision that judged it."""
ENTRY, DIGEST, STATE, HEAD = "recctl.entry", "recctl.digest", "recctl.state", "recctl.head"
"""recctl's tags; `recctl.head` is a tag of NAME, so that it outlives a deleted log."""


@dataclass(frozen=True)
class Version:
    """One version of the registered model."""

    number: int
    digest: str
    """sha256 over the model's own files; empty where recctl did not register it."""
    tags: dict[str, str]
    run_id: str | None
    source: str
    created: str
    """UTC, ISO 8601."""

    @property
    def files(self) -> Manifest:
        """Its manifest; empty where recctl did not register it."""
        try:
            found = json.loads(self.tags.get(FILES, ""))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def again(self) -> bool:
        """Whether it holds a model that was trained again on everything."""
        return any(name.startswith(f"{AGAIN}/") for name in self.files)


def version_of(found: Any) -> Version:
    """A version, from MLflow's entity."""
    created = datetime.datetime.fromtimestamp(found.creation_timestamp / 1000, datetime.UTC)
    return Version(
        number=int(found.version),
        digest=_word(found.tags.get(CONTENT_DIGEST, "")),
        tags=dict(found.tags),
        run_id=found.run_id or None,
        source=found.source,
        created=created.isoformat(timespec="seconds"),
    )


def _word(digest: str) -> str:
    """A digest from a tag, nothing where it is none: folders on disk are named by it."""
    return digest if re.fullmatch(r"[\w ]*", digest) else ""


def entry_of(found: Any) -> Entry:
    """An entry of the log, from MLflow's entity."""
    tags = found.tags
    return Entry(
        position=int(found.version),
        body=tags.get(ENTRY, ""),
        claimed=tags.get(DIGEST, ""),
        state=tags.get(STATE, "pending"),
        run_id=found.run_id or None,
    )


def head_of(tag: str) -> tuple[int, str] | None:
    """Position and digest of the newest entry, from the tag that notes it."""
    position, _, noted = tag.partition(" ")
    return (int(position), noted) if position.isdecimal() else None
