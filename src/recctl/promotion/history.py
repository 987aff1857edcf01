"""What is on record: the decisions and the registered versions."""

from typing import Any

from recctl import limits
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger import log
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import DECISION, Registry, Version
from recctl.promotion.view.schema import history_row

Row = dict[str, Any]
WORKSPACE = "workspace"
"""What the model in artifacts/model is called beside versions."""


def open_registry(layout: Layout) -> Registry:
    """The registry that this project's policy names."""
    return Registry.connect(layout, PromotionParams.load(layout.params).registered_model)


def decisions(registry: Registry) -> list[Row]:
    """Every entry of the log, oldest first."""
    entries = sorted(registry.entries(), key=lambda one: one.position)
    counted = {entry.position for entry in log.in_force(entries)}
    return [history_row(entry, entry.position in counted) for entry in entries]


def entry(registry: Registry, position: int) -> tuple[Entry, Row]:
    """One entry and its row; UserError when there is none at that position that can be read."""
    entries = {one.position: one for one in registry.entries()}
    if position not in entries:
        held = f"1 to {max(entries)}" if entries else "none yet"
        raise UserError(f"no decision {position}", f"known: {held}; see 'recctl history'")
    rows = {row["position"]: row for row in decisions(registry)}
    if rows[position]["body"] is None:
        raise UserError(
            f"decision {position} cannot be read: it was altered, or recctl did not write it",
            "see 'recctl verify'",
        )
    return entries[position], rows[position]


def versions(registry: Registry) -> list[Row]:
    """Every registered version, newest first."""
    aliases = registry.aliases()
    return [_row(one, aliases) for one in registry.versions()]


def version(registry: Registry, number: int) -> Row:
    """One version with the digests of its files."""
    one = registry.version(number)
    files = {
        name: str(told.get("sha256") if isinstance(told, dict) else told)
        for name, told in one.files.items()
    }
    return {**_row(one, registry.aliases()), "files": files}


def number(registry: Registry, name: str, *also: str) -> int:
    """A version's number, by number or alias; `also` is what else could have been said."""
    if name.isdecimal() and len(name) <= len(str(limits.VERSION)):
        return int(name)
    aliases = registry.aliases()
    if name in aliases:
        return aliases[name]
    known = ", ".join(["a version's number", *sorted(aliases), *also])
    raise UserError(f"no version '{name:.40}' of '{registry.name}'", f"known: {known}")


def _row(one: Version, aliases: dict[str, int]) -> Row:
    tags = one.tags
    decision = tags.get(DECISION, "")
    return {
        "version": one.number,
        "model": tags.get("recctl.model", "unknown"),
        "aliases": sorted(name for name, number in aliases.items() if number == one.number),
        "digest": one.digest,
        "registered": one.created,
        "data_md5": tags.get("recctl.data_md5"),
        "commit": tags.get("mlflow.source.git.commit"),
        "dirty": tags.get("recctl.git_dirty"),
        "split_fingerprint": tags.get("recctl.split_fingerprint"),
        "run_id": tags.get("recctl.trained_in"),
        "decision": int(decision) if decision.isdecimal() else None,
    }
