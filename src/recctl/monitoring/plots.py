"""The picture of the series: figures by day with their intervals, and how many events there were.

Champions differ by marker and label, not only by colour.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from recctl.monitoring.figures import Day, iso, number_of
from recctl.render import drawing
from recctl.render.drawing import BLUE, GREY, ORANGE
from recctl.render.numbers import figure as text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recctl.monitoring.report import Report

_MARKED = 62
"""With more days than this, points have no markers."""


def series(report: "Report", path: Path) -> None:
    """Draw the metric by day as a PNG; one that says so where there is no day."""
    from matplotlib.figure import Figure

    with drawing.styled():
        figure = Figure(figsize=(8, 4.8 if report.series else 1.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.set_title(f"{report.metric.upper()} by day, on what came after the training")
        if report.series:
            _figures(above, report)
            _events(below, report)
            figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
        else:
            for axes in (above, below):
                axes.set_axis_off()
            above.text(0, 0.5, report.sentence, transform=above.transAxes, wrap=True)
        drawing.save(figure, path)


def _figures(axes: "Axes", report: "Report") -> None:
    few = len(report.series) + sum(len(one.series) for one in report.former) <= _MARKED
    for one in report.former:
        _line(axes, one.series, report.metric, GREY, "s" if few else "", "former champions")
    name = f"version {report.version}, 95%"
    _line(axes, report.series, report.metric, BLUE, "o" if few else "", name)
    days = [number_of(day.day) for day in report.series]
    if report.promoted_value is not None:
        ends = [days[0] - 0.5, days[-1] + 0.5]
        limit = (report.promoted_least or 0) - report.margin
        label = f"at its promotion, {text_of(report.promoted_value)}"
        axes.plot(ends, [report.promoted_value] * 2, color=BLUE, linestyle="--", label=label)
        label = "less its error and the margin"
        axes.plot(ends, [limit] * 2, color=ORANGE, linestyle=":", label=label)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(report.metric.upper())
    axes.tick_params(labelbottom=False)


def _line(axes: "Axes", days: list[Day], metric: str, colour: str, marker: str, label: str) -> None:
    at, values = [number_of(day.day) for day in days], [day.values[metric] for day in days]
    there = {text.get_label() for text in axes.get_lines()}
    axes.fill_between(
        at, [day.low for day in days], [day.high for day in days], color=colour, alpha=0.18, lw=0
    )
    axes.plot(
        at,
        values,
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.4,
        label=None if label in there else label,
    )
    if len(days) == 1:  # a band of one day has no width
        axes.errorbar(at, values, [[values[0] - days[0].low], [days[0].high - values[0]]],
                      color=colour, capsize=3)  # fmt: skip


def _events(axes: "Axes", report: "Report") -> None:
    """How many events a day had, and how many of them count as misses by rule."""
    from matplotlib.ticker import MaxNLocator

    at = [number_of(day.day) for day in report.series]
    axes.bar(at, [day.events for day in report.series], color=drawing.PALE, label="events")
    barred = [day.cold + day.seen for day in report.series]
    axes.bar(at, barred, color=ORANGE, hatch="//", edgecolor="white", label="cold or seen")
    axes.set_ylabel("events")
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    before = [number_of(one.series[0].day) for one in report.former]
    axes.set_xticks(*_ticks(min(at + before), at[-1]))


def _ticks(first: int, last: int) -> tuple[list[int], list[str]]:
    """At most nine days and their names, the year below the first of each year.

    >>> _ticks(number_of("2026-12-31"), number_of("2027-01-01"))
    ([20818, 20819], ['12-31\\n2026', '01-01\\n2027'])
    """
    at = list(range(first, last + 1, max(1, -(-(last - first) // 8))))
    names, year = [], ""
    for number in at:
        day = iso(number)
        names.append(day[5:] if day[:4] == year else f"{day[5:]}\n{day[:4]}")
        year = day[:4]
    return at, names
