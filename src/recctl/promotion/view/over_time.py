"""The page of all decisions: the champion's quality over time, and the table of decisions."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import tables, words
from recctl.promotion.view.schema import HistoryRow
from recctl.render import drawing, page
from recctl.render.drawing import BLUE, GREEN, GREY, ORANGE
from recctl.render.numbers import figure as text_of
from recctl.render.numbers import label

NOTE = (
    "Each figure is on the test set of its day, so the task may have become harder or easier "
    "between two days; what decided is the difference with its interval, in the table."
)


@dataclass(frozen=True)
class Monitored:
    """What monitoring found last: the champion's figure on events after its training."""

    version: int
    time: datetime
    sentence: str
    metric: str
    value: float | None
    """Of users like the promotion's test users; None where there are too few."""
    low: float
    high: float
    """The 95% interval."""
    picture: bytes
    """A PNG of the figures by day."""


class Point(NamedTuple):
    """A figure at the time of a decision."""

    time: datetime
    value: float
    version: int | None
    kind: Literal["promoted", "rolled back", "champion", "not promoted"]
    """`champion`: it served before the decision and after it."""


_MARKS = {
    "promoted": ("^", BLUE, BLUE, 9),
    "rolled back": ("v", ORANGE, ORANGE, 9),
    "champion": ("o", BLUE, BLUE, 3),
    "not promoted": ("o", GREY, "white", 6),
}
"""By kind: marker, edge, fill, size; the kinds differ by marker and fill, not by colour alone."""
_NAMED = {"promoted": 7, "rolled back": -16}
"""Kinds whose points are named, and how far above the point, in points."""


def metric_of(rows: Iterable[HistoryRow]) -> str:
    """The first primary metric of the newest decision that has one."""
    gates = [row.body.of("primary") for row in rows if row.body is not None]
    return next((found[0].name for found in reversed(gates) if found), "ndcg@10")


def points(rows: Sequence[HistoryRow], metric: str) -> list[Point]:
    """The figures of champions and challengers by the decisions in force, oldest first.

    A version to which a person rolled back has the figure that it had last.
    """
    found: list[Point] = []
    last: dict[int | None, float] = {}

    def add(record: DecisionRecord, value: float | None, version: int | None, kind: str) -> None:
        if value is not None:
            time = datetime.fromisoformat(record.time).astimezone(UTC)
            found.append(Point(time, value, version, kind))  # type: ignore[arg-type]
            last[version] = value

    for row in rows:
        record = row.body
        if record is None or not row.in_force:
            continue
        means = record.means.full if record.means else {}
        served, serves = record.champion_before, record.sets.champion if record.sets else None
        judged = record.challenger.version if record.challenger else None
        if record.kind == "promotion":
            add(record, means.get("champion", {}).get(metric), served, "champion")
            kind = "promoted" if record.sets else "not promoted"
            add(record, means.get("challenger", {}).get(metric), judged, kind)
        elif serves is not None and serves != served:
            add(record, last.get(serves), serves, "rolled back")
    return found


def plot(rows: Sequence[HistoryRow], monitored: Monitored | None, path: Path) -> None:
    """Draw the champion's metric over time as a PNG; one that says so where there is no figure."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    metric = metric_of(rows)
    found = points(rows, metric)
    with drawing.styled():
        # narrow, so that its text is legible on a phone
        figure = Figure(figsize=(6, 3.7 if found else 1), layout="constrained")
        axes = figure.subplots()
        if not found:
            axes.set_axis_off()
            axes.text(0, 0.5, "No decision has figures yet.", transform=axes.transAxes)
        line = [point for point in found if point.kind != "not promoted"]
        times, values = [point.time for point in line], [point.value for point in line]
        axes.plot(times, values, color=BLUE, linewidth=1.4)  # type: ignore[arg-type]
        for kind, (marker, edge, fill, size) in _MARKS.items():
            there = [point for point in found if point.kind == kind]
            axes.plot(
                [point.time for point in there],  # type: ignore[arg-type]
                [point.value for point in there],
                marker,
                markersize=size,
                markeredgecolor=edge,
                markerfacecolor=fill,
                label=kind if there else None,
            )
            for point in there if kind in _NAMED else []:
                at = (point.time, point.value)
                axes.annotate(f"v{point.version}", at, (0, _NAMED[kind]), fontsize=9, ha="center",
                              textcoords="offset points")  # fmt: skip
        if monitored and monitored.value is not None and monitored.metric == metric:
            ends = [[monitored.value - monitored.low], [monitored.high - monitored.value]]
            axes.errorbar([monitored.time], [monitored.value], ends, fmt="D", color=GREEN,  # type: ignore[arg-type]
                          capsize=3, label=f"v{monitored.version} in monitoring, 95%")  # fmt: skip
        if found:
            axes.set_ylabel(label(metric))
            axes.margins(x=0.08, y=0.15)
            locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        drawing.save(figure, path)


def html(
    rows: Sequence[HistoryRow], picture: bytes, monitored: Monitored | None, model: str
) -> str:
    """One self-contained page; `picture` is `plot`'s, each id leads to the decision's own page."""
    metric = metric_of(rows)
    serves = words.serving(rows)
    verdict = ("rejected", "NONE SERVES", "no version serves yet")
    if serves and serves[1].body:
        record = serves[1].body
        by = f"since {words.when(record.time)} UTC, by decision {serves[1].position}"
        verdict = ("promoted", f"VERSION {serves[0]} SERVES", f"{by}: {words.sentence(record)}")
    alt = f"{label(metric)} at each decision: {_in_words(points(rows, metric))}"
    blocks: list[page.Block] = [
        page.heading(f"{label(metric)} over time"),
        page.picture(alt, _source(picture)),
        page.paragraph(NOTE),
    ]
    if monitored:
        blocks += [
            page.heading("On interactions after its training"),
            page.paragraph(monitored.sentence),
            page.picture(f"{label(monitored.metric)} by day", _source(monitored.picture)),
        ]
    newest = list(reversed(rows))
    blocks += [page.heading("Decisions"), tables.log(newest, linked=True)]
    blocks += [page.paragraph(note) for row in newest for note in words.row_notes(row)]
    return page.html(f"Decisions about {model}", blocks, verdict=verdict)


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _in_words(found: list[Point]) -> str:
    """The promotions and rollbacks, for people who do not see the plot."""
    moves = [point for point in found if point.kind in ("promoted", "rolled back")]
    texts = [
        f"version {point.version} {point.kind} {point.time:%Y-%m-%d}, {text_of(point.value)}"
        for point in moves
    ]
    return "; ".join(texts) or "no version was promoted"
