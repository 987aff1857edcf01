"""Carry out, or undo, what a killed process left, before anything else changes."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recctl.errors import Gone, UserError
from recctl.promotion.ledger.aliases import (
    ALIASES,
    ROUNDS,
    Serving,
    Stale,
    append,
    follow,
    move,
    moved_by_hand,
    note_head,
    serving,
    wait_to_reread,
)
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry

Check = Callable[[int], str | None]
"""Why a version cannot serve (its files are gone or altered), None where it can; raises Unknown
where that could not be read, such as when a store is away."""


class NoneCanServe(UserError):
    """Neither the champion nor the one before it is there and sound."""


@dataclass(frozen=True)
class _Recovery:
    registry: Registry
    check: Check
    say: Callable[[str], None]
    describe: Callable[[], dict[str, Any]]

    def settle(self, now: Serving) -> None:
        """One step towards aliases that follow the log."""
        latest = now.latest
        if latest is None:  # aliases without a log, and no champion among them
            for alias in ALIASES:
                if now.aliases[alias] is not None:
                    self.say(f"the alias '{alias}' is removed: no decision has set it")
                    move(self.registry, alias, None)
            return
        champion = now.says["champion"]
        reason = None if champion is None else self.unfit(champion)
        if reason is not None:
            self.undo(now, latest, reason)
            return
        if now.pending:
            self.say(f"decision {latest.position} was not carried out to its end: finishing it")
        else:
            self.say(f"the aliases do not show decision {latest.position}: setting them again")
        follow(self.registry, latest)

    def unfit(self, number: int) -> str | None:
        """Why a version cannot serve; None where it can."""
        try:
            self.registry.version(number)
        except Gone as error:
            return str(error)
        return self.check(number)

    def undo(self, now: Serving, latest: Entry, reason: str) -> None:
        """Let the previous champion serve again, as a separate decision."""
        sets = _before(now, latest)
        former = sets["champion"]
        also = None if former is None else self.unfit(former)
        if also is not None or former == now.says["champion"]:
            raise NoneCanServe(
                f"no version can serve: {reason}; {also or 'there is none before it'}",
                "choose one with 'recctl rollback --to VERSION --reason ...', or let the "
                "workspace's model serve with 'recctl promote --force --reason ...'",
            )
        after = f"version {former} serves" if former is not None else "no version serves"
        sentence = f"Decision {latest.position} is undone, {after}: {reason}"
        content = {
            **self.describe(),
            "previous": now.head,
            "kind": "recovery",
            "verdict": "refused",
            "sentence": sentence,
            "reason": reason,
            "registered_model": self.registry.name,
            "saw": now.aliases,
            "sets": {alias: sets.get(alias) for alias in ALIASES},
        }
        run_id = self.registry.decision_run("recovery", {"recctl.run": "recovery"})
        outcome = append(self.registry, content, run_id)
        if not isinstance(outcome, Stale):
            self.say(sentence)
            with contextlib.suppress(Gone):
                self.registry.mark(latest.position, "undone")
            follow(self.registry, outcome)


def recover(
    registry: Registry,
    check: Check,
    say: Callable[[str], None],
    now: Serving,
    *,
    describe: Callable[[], dict[str, Any]] = dict,
    force: bool = False,
) -> Serving:
    """Carry out, or undo, what a killed process left; what every changing command begins with.

    `now` is the registry as it was just read. Returns the registry as it is afterwards: the basis
    of the next decision. `say` gets a sentence on what was done. `describe` returns the keys of an
    entry's body that record who writes it, when and from which code and data. With `force` a
    damaged log is no obstacle.

    Raises UserError when the log is damaged, when `champion` was moved by hand, or when no version
    that could serve is left.
    """
    recovery, looks = _Recovery(registry, check, say, describe), 0
    for _ in range(ROUNDS):
        _whole(registry, now, force)
        if now.agree and not now.pending:
            note_head(registry, now)
            return now
        if not _expected(now):
            looks = wait_to_reread(registry, now, looks)
        else:
            recovery.settle(now)
        now = serving(registry)
    raise UserError(f"the registry '{registry.name}' keeps changing", "try again later")


def passable(registry: Registry, now: Serving, *, force: bool) -> None:
    """Raise the errors of `recover` that only a person can fix; changes nothing."""
    _whole(registry, now, force)
    if not _expected(now):
        raise moved_by_hand(registry, now)


def _whole(registry: Registry, now: Serving, force: bool) -> None:
    if now.broken and not force:
        raise UserError(
            f"the decision log of '{registry.name}' is damaged: {'; '.join(now.broken)}",
            "look at 'recctl verify'; --force with --reason goes on from here",
        )


def _expected(now: Serving) -> bool:
    """Whether `champion` is where decisions leave it: there, nowhere, or not moved yet."""
    if now.latest is None:
        return now.aliases["champion"] is None
    places: set[int | None] = {None, now.says["champion"]}
    if now.pending:
        places.add(now.latest.saw.get("champion"))
    return now.aliases["champion"] in places


def _before(now: Serving, latest: Entry) -> dict[str, int | None]:
    """Where the aliases point when the decision's champion is taken away again.

    What a rollback that was carried out, or a recovery, took away does not come back: the champion
    is the one below; where there is none it stays, and a person is asked.
    """
    former = latest.saw.get("champion")
    kind = latest.content.get("kind")
    if kind == "recovery" or (kind == "rollback" and now.aliases["champion"] != former):
        below = now.says["previous"] or now.says["champion"]
        return {**now.wanted, "champion": below, "previous": None}
    if former == now.says["champion"]:
        former = latest.saw.get("previous")
    previous = latest.saw.get("previous")
    return {**latest.saw, "champion": former, "previous": None if former == previous else previous}
