"""The curve of a backfill: what the system would have done, as a table and as a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recctl.render import drawing
from recctl.render.console import SIMPLE_HEAD, Table

if TYPE_CHECKING:
    from recctl.retraining.backfill import Day


def table(days: Sequence["Day"]) -> Table:
    """A row per day."""
    metric = days[0].metric.upper() if days else "metric"
    found = Table(
        title=f"Backfill: {metric} on each day's events, before they were trained on",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ("day", "events", "live", "95% interval", "challenger", "ended", "champion"):
        found.add_column(name, justify="left" if name in ("day", "ended") else "right")
    for day in days:
        found.add_row(*row(day).values())
    return found


def row(day: "Day") -> dict[str, str]:
    """A day's cells."""
    interval = "-" if day.low is None else f"{day.low:.4f} to {day.high:.4f}"
    return {
        "day": day.day,
        "events": f"{day.events:,}",
        "live": _figure(day.live),
        "95% interval": interval,
        "challenger": _figure(day.challenger),
        "ended": day.ending,
        "champion": "-" if day.champion is None else f"version {day.champion}",
    }


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def plot(days: Sequence["Day"], path: Path) -> None:
    """Draw the champion's figure on each day, and the days on which a new one took over."""
    from matplotlib.figure import Figure

    with drawing.styled(axes_grid=False):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
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
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        drawing.save(figure, path)
