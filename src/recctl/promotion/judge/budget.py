"""Control over time: a yearly budget of promotions without reason, spent by elapsed time.

A gate that errs with 2.5% a night errs nine times a year. So each decision may spend only what has
accrued since the one before it: of a budget of b a year, b x days / 365, shared by the metrics of
which one must be better. The levels of all decisions of a year sum to b however often one decides,
and by the union bound so do the expected promotions of challengers that are truly no better.
"""

from datetime import UTC, datetime

from recctl.evaluation.statistics import YEAR
from recctl.promotion.judge.record import DecisionRecord

_DAY = 86_400


def level(budget: float, days: float, claims: int) -> float:
    """The one-sided level of each of so many claims, `days` after the decision before."""
    return budget * days / YEAR / claims


def days_since(before: DecisionRecord, now: str, data_until: str | None) -> float:
    """Days between a decision and one taken `now` on data that end at `data_until`, ISO 8601 each.

    It is the time that passed or, where more of it has been taken in since, the time of the log, so
    that a replay of past days spends what they would have spent. Never negative; 0 where the entry
    before was altered and its times cannot be read.
    """
    then = before.lineage.data_until if before.lineage else None
    try:
        passed = _seconds(now) - _seconds(before.time)
        if then is not None and data_until is not None:
            passed = max(passed, _seconds(data_until) - _seconds(then))
    except ValueError:
        return 0.0
    return max(0.0, passed / _DAY)


def _seconds(time: str) -> float:
    moment = datetime.fromisoformat(time)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
