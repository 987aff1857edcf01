"""The rules: which expectation of Great Expectations each one is, and the limit it sets.

Plain data and functions of the thresholds; suite.py runs them.
"""

import sys
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from recctl.validation.params import SEVERITIES, Counts, Range, Severity, ValidateParams

Frame = Literal[
    "schema", "interactions", "duplicates", "users", "items", "quarantine", "volume", "popularity"
]
"""The tables that rules check; facts.py and drift.py make them."""

Measure = Literal["rows", "share", "value"]
"""What is observed: the rows that fail, their share, or a number of the whole table."""


@dataclass(frozen=True)
class Rule:
    """One rule with its thresholds filled in."""

    frame: Frame
    expectation: str
    """The class in great_expectations.expectations."""
    settings: dict[str, Any]
    """Its arguments."""
    limit: str
    """The threshold in words."""
    unit: str
    """What the observed number counts."""
    measure: Measure = "rows"
    name: str = ""
    severity: Severity = "critical"


def rules(params: ValidateParams, now: datetime) -> list[Rule]:
    """The rules in the order of SEVERITIES, without those that are ignored or have no limit."""
    checks = {
        "schema": _schema(),
        **{f"{noun}-present": _present(column) for noun, column in _COLUMNS.items()},
        "weights-in-range": _weights(params.weight),
        "times-not-early": _not_early(params.earliest),
        "times-not-future": _not_future(now, params.future_tolerance_hours),
        "interactions-unique": _unique(),
        "user-count": _count("users", params.users),
        "item-count": _count("items", params.items),
        "interaction-count": _total(params.interactions),
        "short-histories": _short(params.short_history, params.maximum_short_share),
        "quarantine-share": _quarantine(params.maximum_quarantine_share),
        "volume-drift": _volume(params.volume_drift),
        "volume-break": _volume(params.volume_break),
        "popularity-drift": _popularity(params.popularity_drift),
        "popularity-break": _popularity(params.popularity_break),
    }
    assert set(checks) == set(SEVERITIES)
    return [
        replace(check, name=name, severity=params.severity_of(name))
        for name in SEVERITIES
        if (check := checks[name]) is not None and params.severity_of(name) != "ignore"
    ]


_COLUMNS = {
    "users": "user_id",
    "items": "item_id",
    "times": "timestamp",
    "weights": "weight",
}


def _schema() -> Rule:
    pair = {"column_A": "found", "column_B": "expected"}
    return Rule(
        "schema",
        "ExpectColumnPairValuesToBeEqual",
        pair,
        "these columns and types",
        "wrong columns",
    )


def _present(column: str) -> Rule:
    # To pandas, which Great Expectations runs on, a NaN is as missing as a null.
    settings = {"column": column}
    return Rule("interactions", "ExpectColumnValuesToNotBeNull", settings, "none missing", "rows")


def _weights(limits: Range) -> Rule:
    # Infinities are outside the largest finite numbers.
    settings = {
        "column": "weight",
        "min_value": -sys.float_info.max if limits.minimum is None else limits.minimum,
        "max_value": sys.float_info.max if limits.maximum is None else limits.maximum,
    }
    text = "finite" if limits == Range() else f"finite, {_between(limits)}"
    return Rule("interactions", "ExpectColumnValuesToBeBetween", settings, text, "rows")


def _not_early(earliest: datetime | None) -> Rule | None:
    if earliest is None:
        return None
    settings = {"column": "timestamp", "min_value": earliest}
    limit = f"from {earliest:%Y-%m-%d %H:%M}"
    return Rule("interactions", "ExpectColumnValuesToBeBetween", settings, limit, "rows")


def _not_future(now: datetime, hours: float) -> Rule:
    settings = {"column": "timestamp", "max_value": now + timedelta(hours=hours)}
    # Without the time of day: the report is the same whenever the stage runs.
    limit = f"at most {hours:g} h ahead"
    return Rule("interactions", "ExpectColumnValuesToBeBetween", settings, limit, "rows")


def _unique() -> Rule:
    settings = {"column_list": ["user_id", "item_id", "timestamp", "weight"]}
    return Rule("duplicates", "ExpectCompoundColumnsToBeUnique", settings, "no duplicates", "rows")


def _count(frame: Literal["users", "items"], limits: Counts) -> Rule:
    return Rule(
        frame, "ExpectTableRowCountToBeBetween", _bounds(limits), _between(limits), frame, "value"
    )


def _total(limits: Counts) -> Rule:
    settings = {"column": "interactions", **_bounds(limits)}
    return Rule(
        "users", "ExpectColumnSumToBeBetween", settings, _between(limits), "interactions", "value"
    )


def _short(length: int, share: float) -> Rule:
    # Rounded, because 1 - 0.7 is a little more than the 0.3 that was meant.
    settings = {"column": "interactions", "min_value": length, "mostly": round(1 - share, 12)}
    limit = f"at most {_percent(share)} under {length}"
    return Rule("users", "ExpectColumnValuesToBeBetween", settings, limit, "of users", "share")


def _quarantine(share: float) -> Rule:
    settings = {"column": "share", "max_value": share}
    limit = f"at most {_percent(share)}"
    return Rule(
        "quarantine", "ExpectColumnSumToBeBetween", settings, limit, "of source rows", "value"
    )


def _volume(limits: Range) -> Rule | None:
    if limits == Range():
        return None
    settings = {"column": "ratio", **_bounds(limits)}
    return Rule(
        "volume", "ExpectColumnMaxToBeBetween", settings, _between(limits), "x before", "value"
    )


def _popularity(most: float) -> Rule:
    settings = {"column": "divergence", "max_value": most}
    return Rule(
        "popularity", "ExpectColumnSumToBeBetween", settings, f"at most {most:g}", "bits", "value"
    )


def _bounds(limits: Counts | Range) -> dict[str, Any]:
    return {"min_value": limits.minimum, "max_value": limits.maximum}


def _between(limits: Counts | Range) -> str:
    low, high = limits.minimum, limits.maximum
    if low is None and high is None:
        return "any"
    if high is None:
        return f"at least {low:,}"
    if low is None:
        return f"at most {high:,}"
    return f"{low:,} to {high:,}"


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
