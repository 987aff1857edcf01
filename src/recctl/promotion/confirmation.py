"""Confirmation: a model that passed its gates serves once it holds on events that came later.

With `promotion.confirmation` such a decision is provisional: the version is registered and nothing
moves. A later command judges that version, before any newer model, by the test targets that are
newer than all the data it was trained and judged on: real events that could not be known then.
With `promotion.online` it is also judged by whether users prefer its lists to the champion's.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from recctl.errors import Unknown, UserError
from recctl.layout import Layout
from recctl.online import report
from recctl.online.interval import preferred
from recctl.promotion.judge.budget import days_since
from recctl.promotion.judge.evidence import Use
from recctl.promotion.judge.policy import Confirmation, Primary, PromotionParams
from recctl.promotion.ledger import aliases
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.trial import contenders
from recctl.promotion.trial.scoring import Contender, TestSet
from recctl.render.numbers import percent
from recctl.render.text import Say


@dataclass(frozen=True)
class Trial:
    """A provisional version, and what it is judged by."""

    version: Contender
    test: TestSet
    policy: PromotionParams
    use: Use | None
    """None where the policy does not ask for it."""
    waits: str | None
    """Why it is too early; None where it can be judged."""


def trial(
    registry: Registry, policy: PromotionParams, test: TestSet, state: aliases.Serving, say: Say
) -> Trial | None:
    """The trial of the version that waits for its confirmation; None without one."""
    rules = policy.confirmation
    entry = provisional(state.line, rules, test.data.until)
    if rules is None or entry is None or entry.record is None or entry.record.challenger is None:
        return None
    number = entry.record.challenger.version
    assert number is not None, "a provisional version is registered"
    try:
        version = contenders.registered(registry, test.layout, number, state.line)
    except Unknown:
        raise
    except UserError as error:
        say(f"version {number} is provisional and cannot be judged: {error}")
        return None
    fresh = later(test, version)
    users, waits, use = len(fresh.cases), None, None
    if users < rules.users:
        waits = f"{users:,} of {rules.users:,} users have events later than its data"
    if policy.online is not None:
        use = _use(test.layout, state.says["champion"], number)
        waits = waits or _undecided(use, policy.online.margin)
    if waits is not None:
        waits = f"version {number} is provisional: {waits}"
    return Trial(version, fresh, not_worse(policy), use, waits)


def _use(layout: Layout, champion: int | None, number: int) -> Use | None:
    """Which users preferred, on days that have ended; None where nothing is known."""
    try:
        found = report.read(layout)
    except report.NothingKept:
        return None
    for one in found.interleaved if found.ended else []:
        if (one.champion, one.challenger) == (champion, number):
            return Use(one.wins, one.ties, one.losses)
    return None


def _undecided(use: Use | None, margin: float) -> str | None:
    """Why use says neither that users prefer the champion nor that they do not."""
    if use is None:
        return "no day has ended on which its lists were interleaved with the champion's"
    low, high = preferred(use.wins, use.losses)
    if low > 0.5 - margin or high < 0.5:
        return None
    share = f"{percent(low)} to {percent(high)}"
    return f"too few users have preferred it or the champion to tell ({share})"


def provisional(
    line: Sequence[Entry], rules: Confirmation | None, until: str | None
) -> Entry | None:
    """The decision that waits for its confirmation on data that end at `until`; None without one.

    It lapses when another model has come to serve since, when its version was judged again, and
    after `within_days`.
    """
    if rules is None:
        return None
    judged = set()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for entry in reversed(line):
        if entry.sets is not None:
            return None
        record = None if entry.altered else entry.record
        if record is None or record.kind != "promotion" or record.challenger is None:
            continue
        if record.verdict == "provisional" and record.challenger.version not in judged:
            waited = days_since(record, now, until)
            return entry if waited <= rules.within_days else None
        if record.verdict in ("rejected", "suspicious"):
            judged.add(record.challenger.version)
    return None


def later(test: TestSet, version: Contender) -> TestSet:
    """The test cases whose target is newer than the log that the version's training was part of."""
    assert version.record is not None, "a registered version has its record"
    there = np.asarray(test.data.test) >= 0
    times = np.asarray(test.data.times)[np.where(there, test.data.test, 0)]
    fresh = there & (times > version.record.log_end)
    data = dataclasses.replace(test.data, test=np.where(fresh, test.data.test, -1))
    return dataclasses.replace(test, data=data, cases=data.cases("test"))


def not_worse(policy: PromotionParams) -> PromotionParams:
    """What is asked of a version that was proven better before: no metric is worse, it serves."""
    primary = (policy.primary or Primary()).model_copy(update={"better": False, "min_gain": 0.0})
    return PromotionParams(
        registered_model=policy.registered_model,
        resamples=policy.resamples,
        seed=policy.seed,
        primary=primary,
        serving=policy.serving,
        leak=policy.leak,
        online=policy.online,
    )
