"""The curve of a backfill: what the system would have done, as a table and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recctl.render import drawing
from recctl.render.grid import Grid, left, right
from recctl.render.numbers import count, figure, label, span

if TYPE_CHECKING:
    from recctl.retraining.backfill import Day


def table(days: Sequence["Day"]) -> Grid:
    """A row per day."""
    metric = label(days[0].metric) if days else "metric"
    title = f"Backfill: {metric} on each day's events, before they were trained on"
    figures = right("events", "live", "95% interval", "challenger")
    found = Grid(title, [*left("day"), *figures, *left("ended"), *right("champion")])
    for day in days:
        champion = "-" if day.champion is None else f"version {day.champion}"
        interval, challenger = span(day.low, day.high), figure(day.challenger)
        cells = (count(day.events), figure(day.live), interval, challenger, day.ending, champion)
        found.add(day.day, *cells)
    return found


def plot(days: Sequence["Day"], path: Path) -> None:
    """Draw the champion's figure on each day, and the days on which a new one took over."""
    from matplotlib.figure import Figure

    with drawing.styled(axes_grid=False):
        drawn = Figure(figsize=(8, 4), layout="constrained")
        axes = drawn.subplots()
        axes.set_title("The champion on each day's events, before they were trained on")
        met = [
            (place, day.live, day.low, day.high)
            for place, day in enumerate(days)
            if day.live is not None and day.low is not None and day.high is not None
        ]
        if met:
            at, live, low, high = zip(*met, strict=True)
            axes.fill_between(
                at, low, high, color=drawing.BLUE, alpha=0.18, lw=0, label="95% interval"
            )
            axes.plot(at, live, color=drawing.BLUE, marker="o", markersize=4, label="champion")
        axes.set_ylim(bottom=0)
        top = axes.get_ylim()[1]
        for place, day in enumerate(days):
            if day.ending == "promoted":
                axes.axvline(place + 0.5, color=drawing.ORANGE, linestyle="--")
                axes.annotate(f"version {day.champion}", (place + 0.55, top * 0.02), rotation=90,
                              color=drawing.ORANGE, fontsize=9)  # fmt: skip
        step = max(1, len(days) // 8)
        axes.set_xticks(range(0, len(days), step), [day.day for day in days[::step]], rotation=30)
        if days:
            axes.set_ylabel(days[0].metric.upper())
        drawn.legend(loc="outside lower center", ncols=3, frameon=False)
        drawing.save(drawn, path)
