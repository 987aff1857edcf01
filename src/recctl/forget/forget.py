"""Forget users: a journal first, then every step, each of which can be done again.

The order: erased copies of evidence, the entry in the log, the evidence in MLflow, the data and a
new version of it, what was made of it, DVC's cache and remote. The journal is removed last; until
then the next command that changes the project finishes what it says.
"""

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recctl.data import versions
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.files import locked, read_state, write_json
from recctl.forget import evidence, places, remotes
from recctl.forget.params import ForgetParams
from recctl.forget.places import Removed
from recctl.forget.rows import Users
from recctl.intake import sync
from recctl.intake.params import Folder, IntakeParams
from recctl.layout import Layout
from recctl.promotion.promote import check_reason
from recctl.render.text import Say


@dataclass(frozen=True)
class Journal:
    """A forgetting under way; the only place that holds the ids, until it is done."""

    users: list[str]
    reason: str
    remote: bool
    nonce: str


@dataclass
class Forgotten:
    """The result."""

    removed: list[Removed] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    """Versions trained on the users."""
    unreached: list[str] = field(default_factory=list)
    """What cannot be reached, a line each."""
    decision: int | None = None
    """The entry in the log; None for a dry run."""
    data_md5: str | None = None
    """The new version of data/."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def forget(
    layout: Layout, users: list[str], *, reason: str, remote: bool, dry_run: bool, say: Say
) -> Forgotten:
    """Remove users from the project; the caller holds its lock.

    Raises UserError where no place holds them, before anything is changed.
    """
    check_reason(reason, "forgetting a user")
    ids = sorted({user for user in users if user})
    if not ids:
        raise UserError("no user is named", "give ids, or --file with one per line")
    if any(Users(frozenset({one})).word.search(reason.encode()) for one in ids):
        raise UserError("the reason names the user", "the log keeps it: give a reason without ids")
    if not dry_run:
        finish(layout, say)
    with locked(layout.state / "data.lock", sync.BUSY):
        sync.bring(layout, say)
        journal = Journal(ids, reason, remote, secrets.token_hex(16))
        result = _carry_out(layout, journal, say, dry=True)
        if not result.trained and not any(one.count for one in result.removed):
            shown = f"user '{ids[0]}'" if len(ids) == 1 else f"any of the {len(ids):,} users"
            raise UserError(f"no place of this project holds {shown}", "check the id")
        if dry_run:
            return result
        write_json(_journal(layout), asdict(journal))
        return _carry_out(layout, journal, say, dry=False)


def finish(layout: Layout, say: Say) -> Forgotten | None:
    """Finish what a killed `forget` left; the caller holds the project's lock."""
    for begun in _unwritten(layout):  # nothing was changed yet
        begun.unlink()
    fix = "run 'recctl forget' again with the same users, after deleting it"
    journal = read_state(_journal(layout), Journal, fix)
    if journal is None:
        return None
    say("finishing a 'recctl forget' that was interrupted")
    with locked(layout.state / "data.lock", sync.BUSY):
        return _carry_out(layout, journal, say, dry=False)


def is_left(layout: Layout) -> bool:
    """Whether a killed `forget` left something to finish."""
    return _journal(layout).exists() or any(_unwritten(layout))


def _unwritten(layout: Layout) -> list[Path]:
    """Journals of processes that were killed before these were whole; they hold ids too."""
    return list(layout.state.glob(f".{_journal(layout).name}.*"))


def _journal(layout: Layout) -> Path:
    return layout.state / "forget.json"


def _carry_out(layout: Layout, journal: Journal, say: Say, *, dry: bool) -> Forgotten:
    """All steps in their order; with `dry` nothing is changed."""
    users = Users(frozenset(journal.users), IngestParams.load(layout.params).user_column)
    result = Forgotten()
    work = layout.state / ("forget-dry" if dry else "forget")
    try:
        _evidence(layout, journal, work, result, say, dry)
        result.removed += places.data(layout, users, dry=dry)
        if not dry:
            seen = sync.listing(layout)
            versions.take(layout)
            sync.note(layout, seen)
        result.removed += places.derived(layout, users, dry=dry)
        names = remotes.names(layout)
        removed, unreached = places.cache(
            layout, users, dry=dry, remotes=names if journal.remote else []
        )
        if not journal.remote:
            pushed = "what was pushed before; --remote removes it"
            unreached = [f"DVC's remote '{name}': {pushed}" for name in names]
        result.removed += removed
        result.data_md5 = versions.digest(layout)
        result.unreached += [*_unreached(layout, users), *unreached]
    finally:
        if dry:
            shutil.rmtree(work, ignore_errors=True)
    if not dry:
        shutil.rmtree(work, ignore_errors=True)
        _journal(layout).unlink()
    return result


def _evidence(
    layout: Layout, journal: Journal, work: Path, result: Forgotten, say: Say, dry: bool
) -> None:
    """The log of the project, which always gets an entry, and those of backfills."""
    ids, retire = set(journal.users), ForgetParams.load(layout.params).retire
    for number, registry in enumerate(evidence.registries(layout)):
        entry = evidence.entry_of(registry, journal.nonce)
        if entry is None:
            found = evidence.find(layout, registry, ids, work)
            result.unreached += evidence.described(found)
            erased = {position: one.users for position, one in found.erased.items()}
            if not dry and (number == 0 or erased):
                home = layout if number == 0 else Layout(work / "pages")
                users = len(journal.users)
                entry = evidence.record(
                    home, retire, found, journal.nonce, journal.reason, users, say
                )
            if number == 0:
                result.trained = found.trained
        else:
            assert entry.record is not None
            erased = {int(position): one.users for position, one in entry.record.erased.items()}
            result.trained = entry.record.trained if number == 0 else result.trained
        if entry is not None:
            evidence.upload(registry, entry, work)
            result.decision = entry.position if number == 0 else result.decision
        for position, count in erased.items():
            result.removed.append(
                Removed(f"evidence of decision {position} of '{registry.name}'", count, "rows")
            )


def _unreached(layout: Layout, users: Users) -> Iterator[str]:
    yield "git's history, and clones and copies of this project"
    for name in places.unread(layout, users):
        yield f"{name}: it is no part of the log; edit it, then run 'dvc add data'"
    for source in IntakeParams.load(layout.params).sources:
        if not isinstance(source, Folder):
            yield f"{source.kind}:{source.name}: rows that it still has are taken in again"
