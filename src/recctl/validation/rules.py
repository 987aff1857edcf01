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
    checks = {**_row_rules(params, now), **_summary_rules(params)}
    assert set(checks) == set(SEVERITIES)
    return [
        replace(check, name=name, severity=params.severity_of(name))
        for name in SEVERITIES
        if (check := checks[name]) is not None and params.severity_of(name) != "ignore"
    ]


_ROWS, _SUM = "ExpectColumnValuesToBeBetween", "ExpectColumnSumToBeBetween"
_COLUMNS = {"users": "user_id", "items": "item_id", "times": "timestamp", "weights": "weight"}


def _row_rules(params: ValidateParams, now: datetime) -> dict[str, Rule | None]:
    """Rules about each column or row; None where there is no limit."""
    pair = {"column_A": "found", "column_B": "expected"}
    weight, early, ahead = params.weight, params.earliest, params.future_tolerance_hours
    finite = {  # infinities are outside the largest finite numbers
        "column": "weight",
        "min_value": -sys.float_info.max if weight.minimum is None else weight.minimum,
        "max_value": sys.float_info.max if weight.maximum is None else weight.maximum,
    }
    range_ = "finite" if weight == Range() else f"finite, {_between(weight)}"
    since = {"column": "timestamp", "min_value": early}
    until = {"column": "timestamp", "max_value": now + timedelta(hours=ahead)}
    latest = f"at most {ahead:g} h ahead"  # no time of day: each run of the stage reports the same
    whole = {"column_list": ["user_id", "item_id", "timestamp", "weight"]}
    return {
        "schema": Rule(
            "schema",
            "ExpectColumnPairValuesToBeEqual",
            pair,
            "these columns and types",
            "wrong columns",
        ),
        **{  # to pandas, which Great Expectations runs on, a NaN is as missing as a null
            f"{noun}-present": Rule(
                "interactions",
                "ExpectColumnValuesToNotBeNull",
                {"column": column},
                "none missing",
                "rows",
            )
            for noun, column in _COLUMNS.items()
        },
        "weights-in-range": Rule("interactions", _ROWS, finite, range_, "rows"),
        "times-not-early": None
        if early is None
        else Rule("interactions", _ROWS, since, f"from {early:%Y-%m-%d %H:%M}", "rows"),
        "times-not-future": Rule("interactions", _ROWS, until, latest, "rows"),
        "interactions-unique": Rule(
            "duplicates", "ExpectCompoundColumnsToBeUnique", whole, "no duplicates", "rows"
        ),
    }


def _summary_rules(params: ValidateParams) -> dict[str, Rule | None]:
    """Rules about numbers of the whole data set; None where there is no limit."""
    total, share = params.interactions, params.maximum_quarantine_share
    sums = {"column": "interactions", **_bounds(total)}
    length, most = params.short_history, params.maximum_short_share
    # rounded, because 1 - 0.7 is a little more than the 0.3 that was meant
    enough = {"column": "interactions", "min_value": length, "mostly": round(1 - most, 12)}
    under, bad = f"at most {_percent(most)} under {length}", {"column": "share", "max_value": share}
    return {
        "user-count": _count("users", params.users),
        "item-count": _count("items", params.items),
        "interaction-count": Rule("users", _SUM, sums, _between(total), "interactions", "value"),
        "short-histories": Rule("users", _ROWS, enough, under, "of users", "share"),
        "quarantine-share": Rule(
            "quarantine", _SUM, bad, f"at most {_percent(share)}", "of source rows", "value"
        ),
        "volume-drift": _volume(params.volume_drift),
        "volume-break": _volume(params.volume_break),
        "popularity-drift": _popularity(params.popularity_drift),
        "popularity-break": _popularity(params.popularity_break),
    }


def _count(frame: Literal["users", "items"], limits: Counts) -> Rule:
    expectation = "ExpectTableRowCountToBeBetween"
    return Rule(frame, expectation, _bounds(limits), _between(limits), frame, "value")


def _volume(limits: Range) -> Rule | None:
    if limits == Range():
        return None
    ratio = {"column": "ratio", **_bounds(limits)}
    return Rule(
        "volume", "ExpectColumnMaxToBeBetween", ratio, _between(limits), "x before", "value"
    )


def _popularity(most: float) -> Rule:
    divergence = {"column": "divergence", "max_value": most}
    return Rule("popularity", _SUM, divergence, f"at most {most:g}", "bits", "value")


def _bounds(limits: Range) -> dict[str, Any]:
    return {"min_value": limits.minimum, "max_value": limits.maximum}


def _between(limits: Range) -> str:
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
