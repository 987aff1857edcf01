"""The report as a table of days for a terminal and as a markdown page."""

from recctl.monitoring.figures import Day
from recctl.monitoring.report import Report
from recctl.render import page
from recctl.render.grid import Grid, left, right
from recctl.render.numbers import count, figure, label, span

_DAYS_SHOWN = 31

NOTE = (
    "Every interaction after the end of the log at its training is a test: which rank did the "
    "champion give the item that the user took? Items that the champion cannot know (cold) and "
    "items taken again that the seen filter hides (seen) always count as misses; newcomers count "
    "as well. The verdict compares like with like: only users with as long a history as the "
    "promotion's test users had, each user once. If the share of cold events grows, the "
    "catalogue has changed, and a new training helps. If the figure falls and these shares do "
    "not grow, tastes have changed."
)


def days(report: Report) -> Grid:
    """The last days, oldest first, then the window; no row where there is no event."""
    names = list(report.window.values) if report.window else [report.metric]
    labels = [label(name) for name in names]
    figures = ["events", "users", "cold", "seen", "newcomers", *labels, f"{labels[0]}, 95%"]
    grid = Grid("", [*left("day"), *right(*figures)])
    for day in report.series[-_DAYS_SHOWN:]:
        grid.add(day.day, *_cells(day, names))
    if report.window is not None:
        first, last = report.window.day, report.window.last
        several = sum(first <= day.day <= last for day in report.series)
        name = f"last {several} days" if several > 1 else "last day"
        grid.add(name, *_cells(report.window, names), mark="strong")
    return grid


def _cells(day: Day, names: list[str]) -> list[str]:
    return [
        count(day.events),
        count(day.users),
        *(f"{part / day.events:.1%}" for part in (day.cold, day.seen, day.newcomers)),
        *(figure(day.values[name]) for name in names),
        span(day.low, day.high),
    ]


def markdown(report: Report) -> str:
    """The page; the plot is beside it as series.png."""
    facts = Grid("", left("", ""))
    facts.add("champion", f"version {report.version} of {report.registered_model} ({report.model})")
    facts.add("verdict", report.verdict)
    facts.add(f"{label(report.metric)} at its promotion", figure(report.promoted_value))
    facts.add("margin", figure(report.margin))
    facts.add("its log ends", report.log_end)
    blocks: list[page.Block] = [
        page.heading(f"The champion after its training: {report.verdict}", 1),
        page.paragraph(report.sentence, strong=True),
        facts,
    ]
    if report.window is not None:
        blocks += [page.heading("By day"), days(report)]
        more = len(report.series) - _DAYS_SHOWN
        if more > 0:
            blocks.append(page.paragraph(f"{more} earlier days are in report.json."))
    if report.former:
        blocks += [page.heading("Champions before it"), _former(report)]
    return page.markdown([*blocks, page.heading("How to read it"), page.paragraph(NOTE)])


def _former(report: Report) -> Grid:
    """Each former champion's whole series as one line: the mean over its events."""
    grid = Grid("", [*left("champion", "days"), *right("events", label(report.metric))])
    for one in report.former:
        events = sum(day.events for day in one.series)
        mean = sum(day.events * day.values[report.metric] for day in one.series) / events
        first_to_last = f"{one.series[0].day} to {one.series[-1].last}"
        grid.add(f"version {one.version}", first_to_last, count(events), figure(mean))
    return grid
