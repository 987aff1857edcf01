"""The outcomes as output: the table, the page, report.json, metrics.json."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recctl.data.repeats import Repeats
from recctl.errors import UserError
from recctl.render import page
from recctl.render.console import Console
from recctl.render.grid import Cell, Grid, Mark, left
from recctl.validation.drift import Comparison, Profile
from recctl.validation.suite import Outcome, Verdict

_MARKS: dict[Verdict, Mark] = {"passed": "good", "failed": "bad", "not checked": "dim"}

_METRICS = {
    "short-histories": "short_history_share",
    "quarantine-share": "quarantine_share",
    "volume-drift": "volume_ratio",
    "volume-break": "volume_ratio",
    "popularity-drift": "popularity_divergence",
    "popularity-break": "popularity_divergence",
}
"""Rules whose observed number is tracked from version to version."""


def failed(outcomes: Sequence[Outcome], severity: str) -> list[str]:
    """The names of the rules of this severity that failed."""
    return [
        outcome.rule.name
        for outcome in outcomes
        if outcome.verdict == "failed" and outcome.rule.severity == severity
    ]


def failure(outcomes: Sequence[Outcome]) -> UserError | None:
    """The error that stops the pipeline, if a critical rule failed."""
    names = failed(outcomes, "critical")
    if not names:
        return None
    checked = sum(outcome.verdict != "not checked" for outcome in outcomes)
    fix = "fix the data or the thresholds under 'validate' in params.yaml"
    if "quarantine-share" in names and _many_anonymous(outcomes):
        fix += "; ingest.anonymous: drop lets rows without a user not count as bad"
    return UserError(
        f"validation failed: {len(names)} of {checked} expectations: {', '.join(names)}", fix
    )


def _many_anonymous(outcomes: Sequence[Outcome]) -> bool:
    """Whether rows without a user are the most of the bad ones, which come sorted."""
    shares = [one.samples for one in outcomes if one.rule.name == "quarantine-share"]
    return any(bool(rows) and rows[0].get("cause") == "no-user" for rows in shares)


def report(
    outcomes: Sequence[Outcome],
    profile: Profile | None,
    drift: Comparison,
    repeats: Repeats | None = None,
) -> Any:
    """All outcomes as JSON, with the rows that failed."""
    return {
        "passed": failure(outcomes) is None,
        "data": profile.name if profile else None,
        "version": profile.digest if profile else None,
        "previous_version": drift.previous,
        "repeats": shares(repeats),
        "rules": [
            {
                "rule": outcome.rule.name,
                "severity": outcome.rule.severity,
                "verdict": outcome.verdict,
                "observed": outcome.observed,
                "unit": outcome.rule.unit,
                "limit": outcome.rule.limit,
                "note": outcome.note,
                "samples": outcome.samples,
            }
            for outcome in outcomes
        ],
    }


def shares(repeats: Repeats | None) -> dict[str, float]:
    """Shares of the interactions, and of the users' last items, that are repeats."""
    if repeats is None:
        return {}
    return {"repeat_share": repeats.share, "hidden_target_share": repeats.hidden_share}


def metrics(outcomes: Sequence[Outcome], profile: Profile | None) -> dict[str, float]:
    """One flat table of numbers, for `dvc metrics show` and `diff`."""
    numbers: dict[str, float] = {
        "rules_checked": sum(outcome.verdict != "not checked" for outcome in outcomes),
        "failed_critical": len(failed(outcomes, "critical")),
        "failed_warning": len(failed(outcomes, "warning")),
    }
    if profile:
        numbers |= {
            "users": profile.users,
            "items": len(profile.items),
            "interactions": profile.interactions,
        }
    for outcome in outcomes:
        if outcome.rule.name in _METRICS and outcome.observed is not None:
            numbers[_METRICS[outcome.rule.name]] = outcome.observed
    return numbers


def show(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print every rule's outcome, why rules were not checked, and sample rows of failures."""
    for part in _parts(outcomes):
        part.print(console) if isinstance(part, Grid) else console.print(part)


def html(outcomes: Sequence[Outcome], pages: Mapping[str, str]) -> str:
    """The same as one page; `pages` are the addresses of Great Expectations' own, by table."""
    problem, warnings = failure(outcomes), len(failed(outcomes, "warning"))
    checked = sum(outcome.verdict != "not checked" for outcome in outcomes)
    passed = f"{checked} expectations checked; warnings: {warnings}"
    verdict = ("rejected", "FAILED", str(problem)) if problem else ("promoted", "PASSED", passed)
    overview, *rest = _parts(outcomes)
    blocks: list[page.Block] = [overview]
    for part in rest:
        if isinstance(part, Grid):
            blocks += [page.heading(part.title), part]
        else:
            blocks.append(page.paragraph(part))
    own = Grid("", left("table"), rows=[[Cell(name, link=path)] for name, path in pages.items()])
    blocks += [page.heading("Great Expectations' pages"), own]
    return page.html("Validation", blocks, verdict=verdict)


def _parts(outcomes: Sequence[Outcome]) -> Iterator[Grid | str]:
    """Every rule's outcome, why rules were not checked, and sample rows of failures."""
    yield _overview(outcomes)
    for note in dict.fromkeys(outcome.note for outcome in outcomes if outcome.note):
        yield f"Not checked: {note}."
    shown: list[list[dict[str, Any]]] = []
    for outcome in outcomes:
        # Two rules may check the same rows against different limits.
        if outcome.samples and outcome.samples not in shown:
            samples = outcome.samples
            title = f"{outcome.rule.name}: {observed(outcome)}"
            grid = Grid(title, left(*samples[0], cut=True))
            for row in samples:
                grid.add(*map(_plain, row.values()))
            yield grid
            shown.append(samples)


def _overview(outcomes: Sequence[Outcome]) -> Grid:
    columns = [
        *left("rule", whole=True),
        *left("severity", "observed", "limit"),
        *left("verdict", whole=True),
    ]
    grid = Grid("Validation", columns)
    for outcome in outcomes:
        rule = outcome.rule
        if outcome.verdict == "failed" and rule.severity == "warning":
            verdict = Cell("warning", "warning")
        else:
            verdict = Cell(outcome.verdict, _MARKS[outcome.verdict])
        grid.add(rule.name, rule.severity, observed(outcome), rule.limit, verdict)
    return grid


def observed(outcome: Outcome) -> str:
    """The number observed, with its unit."""
    value, unit = outcome.observed, outcome.rule.unit
    if value is None:
        return "-"
    if unit.startswith("of "):
        return f"{value:.2%} {unit}"
    if value == 1:
        unit = unit.removesuffix("s")
    return f"{value:,} {unit}" if value == int(value) else f"{value:.4f} {unit}"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "(missing)" if value is None else str(value)
