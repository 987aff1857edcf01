"""The decisions in the log and the registered versions."""

import contextlib
import sqlite3

from recctl import limits
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger import aliases, log
from recctl.promotion.ledger.aliases import Serving
from recctl.promotion.ledger.local import LocalRegistry
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.versions import DECISION, Version
from recctl.promotion.view.schema import HistoryRow, ModelVersion, State
from recctl.tracking.artifacts import sqlite_file
from recctl.tracking.server import tracking_uri

WORKSPACE = "workspace"
"""What the model in artifacts/model is called beside versions."""


def open_registry(layout: Layout) -> Registry:
    """The registry that this project's policy names."""
    return Registry.connect(layout, PromotionParams.load(layout.params).registered_model)


def reading(layout: Layout) -> tuple[Registry | LocalRegistry, Serving]:
    """The registry to read from and what it says; a local database is read without MLflow's slow
    import."""
    database = sqlite_file(tracking_uri(layout))
    if database is not None:
        with contextlib.suppress(sqlite3.Error):  # tables of another version of MLflow
            name = PromotionParams.load(layout.params).registered_model
            local = LocalRegistry(database, name)
            return local, aliases.serving(local)
    registry = open_registry(layout)
    return registry, aliases.serving(registry)


def decisions(registry: Registry) -> list[HistoryRow]:
    """Every entry of the log, oldest first."""
    entries = sorted(registry.entries(), key=lambda entry: entry.position)
    counted = {entry.position for entry in log.in_force(entries)}
    return [row(entry, entry.position in counted) for entry in entries]


def row(entry: Entry, in_force: bool) -> HistoryRow:
    """An entry of the log with its place in it."""
    state: dict[str, State] = {"done": "done", "undone": "undone"}
    return HistoryRow(
        position=entry.position,
        state=state.get(entry.state, "pending"),
        in_force=in_force,
        digest=entry.digest,
        body=entry.record,
    )


def decision(registry: Registry, position: int) -> HistoryRow:
    """One entry of the log; UserError where there is none, or it cannot be read."""
    rows = {row.position: row for row in decisions(registry)}
    if position not in rows:
        known = f"1 to {max(rows)}" if rows else "none yet"
        raise UserError(f"no decision {position}", f"known: {known}; see 'recctl history'")
    if rows[position].body is None:
        raise UserError(
            f"decision {position} cannot be read: it was altered, or recctl did not write it",
            "see 'recctl verify'",
        )
    return rows[position]


def versions(registry: Registry) -> list[ModelVersion]:
    """Every registered version, newest first."""
    pointing = registry.aliases()
    return [_version(one, pointing) for one in registry.versions()]


def version(registry: Registry, number: int) -> ModelVersion:
    """One version with the digests of its files."""
    one = registry.version(number)
    files = {
        name: str(listed.get("sha256") if isinstance(listed, dict) else listed)
        for name, listed in one.files.items()
    }
    return _version(one, registry.aliases()).but(files=files)


def number(registry: Registry, name: str, *also: str) -> int:
    """A version's number, by number or alias; `also` is what else could have been said."""
    if name.isdecimal() and len(name) <= len(str(limits.VERSION)):
        return int(name)
    pointing = registry.aliases()
    if name in pointing:
        return pointing[name]
    known = ", ".join(["a version's number", *sorted(pointing), *also])
    raise UserError(f"no version '{name:.40}' of '{registry.name}'", f"known: {known}")


def _version(one: Version, aliases: dict[str, int]) -> ModelVersion:
    tags = one.tags
    decision = tags.get(DECISION, "")
    return ModelVersion(
        version=one.number,
        model=tags.get("recctl.model", "unknown"),
        aliases=sorted(name for name, number in aliases.items() if number == one.number),
        digest=one.digest,
        registered=one.created,
        data_md5=tags.get("recctl.data_md5"),
        commit=tags.get("mlflow.source.git.commit"),
        dirty=tags.get("recctl.git_dirty"),
        split_fingerprint=tags.get("recctl.split_fingerprint"),
        run_id=tags.get("recctl.trained_in"),
        decision=int(decision) if decision.isdecimal() else None,
    )
