"""From ingest's files to the outcomes of all rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from recctl.data import engine, repeats
from recctl.data.repeats import Repeats
from recctl.validation import drift, facts
from recctl.validation.params import SEVERITIES
from recctl.validation.rules import Frame, Rule
from recctl.validation.suite import Outcome, Suite, not_checked


@dataclass(frozen=True)
class Findings:
    """The results of validating one version of the data."""

    outcomes: list[Outcome]
    profile: drift.Profile | None
    """What to remember of this version; None where the schema is wrong."""
    drift: drift.Comparison
    repeats: Repeats | None = None
    """How often users come back to an item; None where the schema is wrong."""


def check(
    log: facts.Log, rules: list[Rule], suite: Suite, connection: Any, profiles: Path
) -> Findings:
    """Check all rules; without the right columns the others are not checked.

    `connection` is an ibis connection, `profiles` the folder of the versions validated before.
    Raises UserError when a file is missing or unreadable.
    """
    first = [rule for rule in rules if rule.frame == "schema"]
    rest = [rule for rule in rules if rule.frame != "schema"]
    outcomes = suite.check("schema", first, [facts.schema(log)])
    if any(outcome.verdict == "failed" for outcome in outcomes):
        reason = "the schema is wrong"
        return Findings(outcomes + not_checked(rest, reason), None, drift.Comparison(None, reason))
    with engine.reading(log.folder, "ingest"):
        return _check_rows(log, outcomes, rest, suite, connection, profiles)


def _check_rows(
    log: facts.Log,
    outcomes: list[Outcome],
    rules: list[Rule],
    suite: Suite,
    connection: Any,
    profiles: Path,
) -> Findings:
    interactions = connection.read_parquet(log.interactions)
    users, items = (facts.counts(interactions, key) for key in ("user_id", "item_id"))
    profile = drift.Profile(log.name(), len(users), items)
    change = drift.compare(profile, drift.version_before(profile, profiles))
    quarantined = connection.read_parquet(log.quarantine)
    tables: dict[Frame, Iterable[pd.DataFrame]] = {
        "interactions": log.parts(),
        "duplicates": [facts.suspects(interactions)],
        "users": [users],
        "items": [items],
        "quarantine": [facts.quarantine(quarantined, log.rows())],
    }
    if change.reason is None:
        tables |= {"volume": [change.volume], "popularity": [change.popularity]}
    by_frame = attrgetter("frame")
    for frame, group in groupby(sorted(rules, key=by_frame), key=by_frame):
        if frame in tables:
            outcomes = outcomes + suite.check(frame, list(group), tables[frame])
        else:
            outcomes = outcomes + not_checked(group, change.reason or "")
    again = repeats.count(interactions, "timestamp")
    order = list(SEVERITIES)
    outcomes = sorted(outcomes, key=lambda outcome: order.index(outcome.rule.name))
    return Findings(outcomes, profile, change, again)
