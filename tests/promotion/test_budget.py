"""A yearly budget of promotions without reason: what accrues, what it asks for, what is checked."""

from dataclasses import replace
from datetime import datetime

import pytest
import tiny_project as tiny
from decision_cases import MISS, evidence, policy, ranks, row

from recctl.layout import Layout
from recctl.promotion import assess
from recctl.promotion.judge import budget
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.record import DecisionRecord, Lineage
from recctl.promotion.ledger import log
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.verify import verify

CHALLENGER = ranks((100, 1), (100, 3), (9, 1), (291, MISS))
"""The champion's ranks, but for nine users who gain: 1 in 512 by chance, and less than 1 in 1,460
is asked of each of two metrics where half a promotion a year may be without reason."""


def record(time: str, until: str | None = None) -> DecisionRecord:
    return DecisionRecord(
        schema=1,
        kind="promotion",
        verdict="rejected",
        sentence="",
        time=time,
        who="a@b",
        registered_model="m",
        lineage=Lineage(data_until=until),
    )


def test_days_are_those_that_passed_or_those_of_the_log():
    before = record("2026-01-01T00:00:00+00:00", "2025-12-31T00:00:00+00:00")
    assert budget.days_since(before, "2026-01-01T12:00:00+00:00", None) == 0.5
    replayed = budget.days_since(before, "2026-01-01T00:01:00+00:00", "2026-01-03T00:00:00+00:00")
    assert replayed == 3.0
    assert budget.days_since(before, "2025-01-01T00:00:00+00:00", None) == 0.0  # a clock put back
    assert budget.days_since(record("2026-01-01T00:00:00"), "2026-01-02T00:00:00+00:00", None) == 1
    assert budget.days_since(record("altered"), "2026-01-02T00:00:00+00:00", None) == 0.0


@pytest.mark.parametrize("decisions", [1, 12, 365, 8760])
def test_levels_of_a_year_sum_to_the_budget_however_often_one_decides(decisions):
    each = budget.level(0.5, budget.YEAR / decisions, claims=2)
    assert 2 * each * decisions == pytest.approx(0.5)


def test_a_gain_that_one_look_would_prove_is_not_enough_for_one_of_many():
    challenger, strict = evidence(CHALLENGER), policy(unreasoned_per_year=0.5)
    assert decide(challenger, policy()).verdict == "promoted"
    nightly = decide(replace(challenger, days=1.0), strict)
    assert nightly.verdict == "rejected"
    accrued = row(nightly.gates, "primary", "level")
    assert accrued.threshold == pytest.approx(0.5 / 365 / 2)
    assert accrued.details == {"days": 1.0}
    assert accrued.reason == (
        "a metric is better where its one-sided p-value is at most 0.07%: 0.5 promotions without "
        "reason a year, 1.00 days since the decision before, shared by 2 metrics"
    )
    reason = row(nightly.gates, "primary", "better in one").reason
    assert "not proven better in NDCG@10 or HR@10 at the level that has accrued, 0.07%" in reason


def test_the_level_is_never_laxer_than_one_look():
    strict = policy(unreasoned_per_year=100)
    late = decide(replace(evidence(CHALLENGER), days=4000.0), strict)
    assert late.verdict == "promoted"
    assert row(late.gates, "primary", "level").threshold == 0.025
    first = decide(evidence(CHALLENGER), strict)  # no decision before it: nothing to divide by
    assert row(first.gates, "primary", "level").threshold == 0.025


def test_only_better_is_asked_at_that_level():
    """Asked of "not worse" too, it would stop every promotion."""
    far_better = ranks((100, 1), (100, 3), (40, 1), (260, MISS))
    found = decide(replace(evidence(far_better), days=0.1), policy(unreasoned_per_year=0.5))
    assert found.verdict == "promoted"
    assert row(found.gates, "primary", "ndcg@10").details["p_not_better"] < 1e-9


@pytest.fixture
def layout(tmp_path) -> Layout:
    return tiny.make(tmp_path / "project", policy={**tiny.POLICY, "unreasoned_per_year": 0.5})


def checks(layout: Layout) -> dict[str, str | None]:
    registry = Registry.connect(layout, "tiny")
    found = verify(registry, layout, everything=True)
    return {one.name: None if one.ok else one.detail for one in found}


@pytest.mark.usefixtures("quick_decisions")
def test_the_log_says_what_was_spent_and_verify_computes_it_again(layout, monkeypatch):
    assert tiny.promote(layout, 1e6).record.verdict == "promoted"
    second = tiny.promote(layout, "markov").record
    days = row(second.gates, "primary", "level").details["days"]
    assert 0 <= days < 0.01  # wall time, on the same data
    newest = datetime.fromisoformat(second.lineage.data_until).timestamp()
    assert newest == tiny.log()["timestamp"].max() // 10**6
    assert set(checks(layout).values()) == {None}

    with monkeypatch.context() as patched:
        patched.setattr(log, "days_since", lambda *given: 300.0)
        tiny.promote(layout, 50.0)
    said = checks(layout)["decision 3"]
    assert said.startswith("its level was computed for 300 days since the decision before, not ")


@pytest.mark.usefixtures("quick_decisions")
def test_a_forced_promotion_starts_the_clock_and_a_rollback_does_not(layout, monkeypatch):
    times = iter(f"2026-01-{day:02}T00:00:00+00:00" for day in range(1, 30))

    class Clock(assess.datetime):
        @classmethod
        def now(cls, zone=None):
            return cls.fromisoformat(next(times))

    monkeypatch.setattr(assess, "datetime", Clock)
    tiny.promote(layout, "markov")
    forced = tiny.promote(layout, 1e6, force=True, reason="a test").record  # the 2nd
    assert forced.forced
    tiny.rollback(layout)
    third = tiny.promote(layout, 50.0).record
    assert row(third.gates, "primary", "level").details["days"] == 1.0  # since the forced one
