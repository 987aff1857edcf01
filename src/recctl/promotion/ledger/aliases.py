"""Changing the registry: a decision is written first, then the aliases follow it.

The log decides (see `log.py`) and the aliases follow it. A process that finds them behind the log
brings them up to date, so one may be killed between any two of its requests: `champion` is moved by
one request, the last, hence either the old champion serves or the new one.
"""

import contextlib
import random
import time
import uuid
from dataclasses import dataclass
from typing import Any

from recctl.errors import UserError, type_of
from recctl.promotion.ledger.local import LocalRegistry
from recctl.promotion.ledger.log import (
    Entry,
    accepts_cut,
    acknowledged,
    broken,
    canonical,
    digest,
    in_force,
    moving,
)
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.vouch import served
from recctl.redact import redact

ALIASES = ("previous", "best", "champion")
"""In the order in which they move."""

FAILURES = 3
"""Requests to write an entry that may fail before its writer gives up."""

ROUNDS = 10
"""How often newer decisions may overtake one that is being carried out."""

LOOKS = 3
"""Number of disagreeing reads before a moved alias is reported: another process that was delayed
while it moved the alias corrects it at once."""

SECONDS_BETWEEN_LOOKS = 0.3


@dataclass(frozen=True)
class Stale:
    """Another decision moved the aliases first; this one is not in force and never will be."""

    winner: Entry


@dataclass(frozen=True)
class Serving:
    """The registry at one moment: what the log says and what the aliases show."""

    entries: list[Entry]
    line: list[Entry]
    """The entries in force."""
    latest: Entry | None
    """The newest one that moves aliases."""
    says: dict[str, int | None]
    """champion, previous and best by the log."""
    aliases: dict[str, int | None]
    """champion, previous and best as they are."""
    deleted: set[int]
    """Versions that the log names and the registry does not hold any more."""
    noted: tuple[int, str] | None
    """The head of the log as the registry remembers it."""
    broken: list[str]
    """What is wrong with the log and was not acknowledged."""

    @property
    def head(self) -> str | None:
        """What a decision made at this moment gives as its `previous`."""
        return self.line[-1].claimed if self.line else None

    @property
    def wanted(self) -> dict[str, int | None]:
        """What the aliases should be; `previous` and `best` cannot point to a deleted version."""
        return {
            alias: None if alias != "champion" and number in self.deleted else number
            for alias, number in self.says.items()
        }

    @property
    def agree(self) -> bool:
        """Whether the aliases show what the log says."""
        return self.aliases == self.wanted and self.says["champion"] not in self.deleted

    @property
    def pending(self) -> bool:
        """Whether the latest decision is recorded and not carried out yet."""
        return self.latest is not None and self.latest.state == "pending"


def serving(registry: Registry | LocalRegistry) -> Serving:
    """Read log and aliases; nothing is changed.

    Aliases that do not show the log's latest decision are read again together with the log, until
    that finds nothing newer: they are compared with the decisions of that moment.
    """
    shown, noted = registry.shown()
    entries = registry.entries()
    while not _shows(shown, entries):
        before = len(entries)
        shown, noted = registry.shown()
        entries = registry.entries()
        if len(entries) == before:
            break
    line = in_force(entries)
    moved = moving(line)
    latest = moved[-1] if moved else None
    says = _says(latest)
    now = {alias: shown.get(alias) for alias in ALIASES}
    gone: set[int] = set()
    if says != now:
        held = {version.number for version in registry.versions()}
        missing = {number for number in says.values() if number is not None} - held
        gone = {number for number in missing if not registry.holds(number)}
    wrong = [it for it in broken(entries, noted) if it not in acknowledged(line)]
    return Serving(entries, line, latest, says, now, gone, noted, wrong)


def _says(latest: Entry | None) -> dict[str, int | None]:
    sets = (latest.sets if latest else None) or {}
    return {alias: sets.get(alias) for alias in ALIASES}


def _shows(shown: dict[str, int], entries: list[Entry]) -> bool:
    moved = moving(in_force(entries))
    says = _says(moved[-1] if moved else None)
    return says == {alias: shown.get(alias) for alias in ALIASES}


def append(registry: Registry, content: dict[str, Any], run_id: str) -> Entry | Stale:
    """Write a decision into the log; the entry in force.

    `content` is the body, `previous` in it the head (`Serving.head`) at which it was decided. One
    that moves nothing is written upon whatever came since. One that moves aliases (`sets`) is
    stale as soon as another such one came since. A request without an answer may have been
    carried out: the log is read again before anything is repeated, and a second copy is void.

    Raises UserError when the registry does not answer; then it may be in the log or not, and the
    next command finds out.
    """
    content = {"nonce": uuid.uuid4().hex, **content}
    tried: set[str] = set()
    confirmed: set[int] = set()
    failures: list[UserError] = []
    while True:
        entries = _read_after(registry, failures)
        line = in_force(entries)
        mine = next((entry for entry in line if entry.claimed in tried), None)
        moved = _since(line, content["previous"])
        if mine is not None or (content["sets"] is not None and moved):
            _retire(registry, [it for it in entries if it.claimed in tried and it != mine])
            return Stale(moved[-1]) if mine is None else mine
        if len(failures) == FAILURES:
            raise failures[-1]
        try:
            if confirmed <= {entry.position for entry in entries}:
                body = canonical({**content, "previous": line[-1].claimed if line else None})
                tried.add(digest(body))
                confirmed.add(registry.append(body, run_id))
            else:
                raise UserError(
                    f"MLflow at {redact(registry.uri)} does not show what was written to it",
                    "let it read from the database that it writes to, not from a replica",
                )
        except UserError as error:
            failures.append(error)
            time.sleep(random.uniform(0.05, 0.3) * len(failures))


def _read_after(registry: Registry, failures: list[UserError]) -> list[Entry]:
    try:
        return registry.entries()
    except UserError as error:
        if not failures:
            raise
        raise type_of(error)(
            f"{error}", "see in 'recctl history' whether the decision was recorded"
        ) from None


def _since(line: list[Entry], head: str | None) -> list[Entry]:
    """The moving entries after the one with the digest `head`."""
    places = [number for number, entry in enumerate(line, start=1) if entry.claimed == head]
    return moving(line[places[0] :] if places else line)


def _retire(registry: Registry, late: list[Entry]) -> None:
    """Mark own entries that came too late, for readers; they are void in any case."""
    with contextlib.suppress(UserError):
        for entry in late:
            registry.mark(entry.position, "undone")


def follow(registry: Registry, entry: Entry) -> Entry:
    """Move the aliases to where `entry` puts them, or a newer one that has come into force.

    Afterwards that entry is marked done; it is given back. `champion` is moved only from where
    the entry saw it, from nowhere, or from where this process itself has put it: between looking
    and moving another process may have followed a newer decision, which is why the log is read
    again after the aliases are.

    Raises UserError when `champion` was moved by hand.
    """
    put: set[int | None] = {None}
    looks = 0
    for _ in range(ROUNDS):
        now = serving(registry)
        latest = now.latest
        assert latest is not None, "an entry in force is followed"
        if now.aliases == now.wanted:
            _finish(registry, now, latest)
            return latest
        if now.aliases["champion"] not in put | {latest.saw.get("champion"), now.says["champion"]}:
            looks = wait_to_reread(registry, now, looks)
            continue
        for alias in ALIASES:
            if now.aliases[alias] != now.wanted[alias]:
                move(registry, alias, now.wanted[alias])
        put.add(now.wanted["champion"])
    raise UserError(
        f"decision {entry.position} could not be carried out: newer ones kept arriving",
        "run the command again",
    )


def move(registry: Registry, alias: str, number: int | None) -> None:
    """Point an alias to a version, or remove it."""
    if number is None:
        registry.drop_alias(alias)
    else:
        registry.move_alias(alias, number)


def _finish(registry: Registry, now: Serving, latest: Entry) -> None:
    """Mark the latest decision done, and older ones that it overtook undone."""
    for entry in moving(now.line):
        if entry.state == "pending" and entry.position != latest.position:
            registry.mark(entry.position, "undone")
    note_head(registry, now)
    if latest.state != "done":  # last: until then an interrupted change is reported as unfinished
        registry.mark(latest.position, "done")


def note_head(registry: Registry, now: Serving) -> None:
    """Note the newest entry in force, so that a log that is cut off later is noticed."""
    if not now.line:
        return
    last = now.line[-1]
    behind = now.noted is None or now.noted[0] < last.position
    if behind or (accepts_cut(last) and now.noted != (last.position, last.claimed)):
        registry.set_head(last.position, last.claimed)


def wait_to_reread(registry: Registry, now: Serving, times: int) -> int:
    """Wait before `champion` is read again; UserError after LOOKS reads that disagree."""
    if times + 1 == LOOKS:
        raise moved_by_hand(registry, now)
    time.sleep(SECONDS_BETWEEN_LOOKS)
    return times + 1


def moved_by_hand(registry: Registry, now: Serving) -> UserError:
    """The error for a `champion` that no decision put where it is."""
    there, should = now.aliases["champion"], now.says["champion"]
    decided = f"decision {now.latest.position}" if now.latest else "the log"
    says = f"version {should}" if should is not None else "that none serves yet"
    back = f", or with --to {should} to go back" if should not in {None, *now.deleted} else ""
    force = "" if there in served(now.line) else " --force"
    if now.latest is None:
        back = ", or take the alias away in MLflow: then the workspace's model can be the first"
    return UserError(
        f"the alias 'champion' of '{registry.name}' points to version {there}, but {decided} says "
        f"{says}: somebody moved it by hand",
        f"run 'recctl rollback --to {there} --reason ...{force}' to keep it{back}",
    )
