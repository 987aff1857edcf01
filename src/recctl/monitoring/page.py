"""The report in words and as a markdown page."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from recctl.promotion.judge.gate import figure
from recctl.render.text import markdown as _plain

if TYPE_CHECKING:
    from recctl.monitoring.figures import Day
    from recctl.monitoring.report import Report

_DAYS_SHOWN = 31

NOTE = (
    "Every interaction after the end of the log at its training is a test: at which place stood "
    "the item that was really taken? Items that the champion cannot know (cold), items taken "
    "again that the seen filter bars (seen) and newcomers count as well, the first two always as "
    "misses. The verdict compares like with like: only users with as long a history as the "
    "promotion's test users had, each user once. Where the share of cold events grows, the "
    "catalogue has moved on, and a new training helps. Where the figure falls and these shares do "
    "not grow, tastes have changed."
)


def sentence(report: "Report") -> str:
    """What was seen, in one line."""
    whom = f"version {report.version}"
    window, name = report.window, report.metric.upper()
    if window is None:
        return f"Nothing came after the training of {whom}, whose log ends {report.log_end}."
    if report.verdict == "too few events":
        return (
            f"Nothing is concluded of {whom}: {_span(window)} had {window.events:,} events of "
            f"{window.users:,} users after its training, and {report.minimum_events:,} of "
            f"{report.minimum_users:,} users are needed."
        )
    found = report.judged
    if report.verdict == "not comparable":
        return (
            f"Not compared: of {window.events:,} events of {_span(window)} only {found.events:,}, "
            f"of {found.users:,} users, are of users with {found.fewest} items before, as the test "
            f"users had when {whom} was promoted; {report.minimum_events:,} of "
            f"{report.minimum_users:,} users are needed."
        )
    value = f"{figure(found.value)} ({figure(found.low)} to {figure(found.high)})"
    seen = f"{name} of {whom} is {value} on {found.events:,} events of {_span(window)}"
    if found.events < window.events:
        seen += f" by users with {found.fewest} items before"
    seen += ", each user once"  # the table's figure counts each event: another number
    if report.promoted_value is None:
        return f"{seen}; the decision that made it champion has no {name} to compare with."
    before = figure(report.promoted_value)
    if report.fallen:
        return f"Fallen: {seen}, below {before} at its promotion by more than the margin " + (
            f"{figure(report.margin)}."
        )
    return (
        f"Holds: {seen}; at its promotion it was {before}, the margin is {figure(report.margin)}."
    )


def _span(day: "Day") -> str:
    return day.day if day.day == day.last else f"{day.day} to {day.last}"


def header(report: "Report") -> list[str]:
    """The columns of the table of days."""
    names = [name.upper() for name in _metrics(report)]
    return ["day", "events", "users", "cold", "seen", "newcomers", *names, f"{names[0]}, 95%"]


def rows(report: "Report", last: int | None = _DAYS_SHOWN) -> list[list[str]]:
    """The last days, oldest first, and the window; none where there is no event."""
    days = report.series[-last:] if last else report.series
    found = [_row(report, day.day, day) for day in days]
    if report.window is not None:
        found.append(_row(report, _window_name(report), report.window))
    return found


def _window_name(report: "Report") -> str:
    count = min(report.window_days, len(report.series))
    return f"last {count} days" if count > 1 else "last day"


def _row(report: "Report", name: str, day: "Day") -> list[str]:
    return [
        name,
        f"{day.events:,}",
        f"{day.users:,}",
        f"{day.cold / day.events:.1%}",
        f"{day.seen / day.events:.1%}",
        f"{day.newcomers / day.events:.1%}",
        *(figure(day.values[metric]) for metric in _metrics(report)),
        f"{figure(day.low)} to {figure(day.high)}",
    ]


def _metrics(report: "Report") -> list[str]:
    return list(report.window.values) if report.window else [report.metric]


def markdown(report: "Report") -> str:
    """The page; the plot lies beside it as series.png."""
    promoted = report.promoted_value
    facts = {
        "champion": f"version {report.version} of {_plain(report.registered_model)} "
        f"({_plain(report.model)})",
        "verdict": report.verdict,
        f"{report.metric.upper()} at its promotion": "-" if promoted is None else figure(promoted),
        "margin": figure(report.margin),
        "its log ends": report.log_end,
    }
    parts = [
        f"# The champion after its training: {report.verdict}",
        f"**{_plain(report.sentence)}**",
        _table(["", ""], [[name, value] for name, value in facts.items()], left=2),
    ]
    if report.window is not None:
        parts += ["## By day", _table(header(report), rows(report))]
        left = len(report.series) - _DAYS_SHOWN
        if left > 0:
            parts.append(f"{left} earlier days are in report.json.")
    if report.former:
        parts += ["## Champions before it", _table(*_former(report))]
    return "\n\n".join([*parts, "## How to read it", NOTE]) + "\n"


def _former(report: "Report") -> tuple[list[str], list[list[str]]]:
    """Each former champion's whole series as one line: the mean over its events."""
    metric = report.metric
    found = []
    for one in report.former:
        events = sum(day.events for day in one.series)
        mean = sum(day.events * day.values[metric] for day in one.series) / events
        days = f"{one.series[0].day} to {one.series[-1].last}"
        found.append([f"version {one.version}", days, f"{events:,}", figure(mean)])
    return ["champion", "days", "events", metric.upper()], found


def _table(header: list[str], lines: Iterable[list[str]], left: int = 1) -> str:
    rule = ["---" if place < left else "---:" for place in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines])
