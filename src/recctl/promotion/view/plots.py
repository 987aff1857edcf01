"""The picture of a decision: every difference with its 95% interval and what it needed.

Outcomes differ by marker and fill, not by colour alone: the picture reads in greyscale.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import words
from recctl.render import drawing
from recctl.render.drawing import BLUE as _BLUE
from recctl.render.drawing import GREY as _GREY
from recctl.render.drawing import ORANGE as _ORANGE
from recctl.render.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS: dict[str, tuple[str, str, str]] = {
    "pass": ("o", _BLUE, _BLUE),
    "fail": ("X", _ORANGE, _ORANGE),
    "suspicious": ("D", _ORANGE, "white"),
    "refused": ("s", _ORANGE, "white"),
    "shown": ("o", _GREY, "white"),
}
"""By outcome: marker, edge, fill."""
_MEANINGS = {
    "pass": "passes",
    "fail": "fails",
    "suspicious": "too good",
    "refused": "cannot be judged",
    "shown": "decides nothing",
}
_LINES: dict[str, tuple[Any, str, str]] = {
    "margin": ("--", _ORANGE, "the interval must be right of this"),
    "gain": (":", _BLUE, "one metric's right of this: better"),
}
"""Thresholds: a line's style, colour and meaning."""
_ROW = 0.32
"""Inches per row."""
_PANELS = {
    "against {champion}": ("primary", "slices"),
    "against the best version ever": ("ratchet",),
    "against the baselines": ("baselines",),
}


def drawable(record: DecisionRecord) -> list[Gate]:
    """The gates that have a difference with an interval; a floor's interval is of the figure."""
    return [gate for gate in record.gates if None not in (gate.difference, gate.low, gate.high)]


def intervals(record: DecisionRecord, path: Path) -> None:
    """Draw a decision's or a comparison's intervals as a PNG; one that says so where it has none.

    Each panel has its own scale: a baseline is beaten by far more than a champion is.
    """
    from matplotlib.figure import Figure

    panels = _panels(record)
    heights = [len(rows) * _ROW + 0.9 for rows in panels.values()] or [1.0]
    with drawing.styled(axes_grid=False, axes_spines_left=False, axes_titlesize=10.5):
        figure = Figure(figsize=(8, sum(heights) + 0.9), layout="constrained")
        figure.get_layout_engine().set(hspace=0.06)  # type: ignore[union-attr,call-arg]
        axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for one, (title, rows) in zip(axes, panels.items(), strict=False):
            _panel(one, rows, record)
            one.set_title(title)
        if panels:
            name = words.sides(record)["challenger"]
            axes[-1].set_xlabel(f"difference: {name} - other, with its 95% interval")
            _legend(figure, panels, record)
        else:
            _say(axes[0], "Nothing was compared: this decision has no intervals.")
        drawing.save(figure, path, dpi=120)


def _panels(record: DecisionRecord) -> dict[str, list[Gate]]:
    """The rows of each panel that has any, by its title."""
    champion = words.side(record.champion) if record.champion else "the champion"
    found = {}
    for title, gates in _PANELS.items():
        rows = [gate for gate in drawable(record) if gate.gate in gates]
        if rows:
            found[title.format(champion=champion)] = rows
    return found


def _panel(axes: "Axes", rows: list[Gate], record: DecisionRecord) -> None:
    """One line per gate, the first on top; the zero line through all."""
    axes.axvline(0, color="#333333", linewidth=1, zorder=1)
    for at, gate in enumerate(rows):
        marker, edge, fill = _MARKS[gate.outcome]
        assert gate.difference is not None
        assert gate.low is not None
        assert gate.high is not None
        axes.hlines(at, gate.low, gate.high, color=edge, linewidth=1.8, zorder=2)
        axes.plot(
            [gate.difference],
            [at],
            marker,
            markersize=7,
            markeredgecolor=edge,
            markerfacecolor=fill,
            zorder=3,
        )
        for name, value in _thresholds(gate, record).items():
            style, colour, _ = _LINES[name]
            axes.vlines(value, at - 0.42, at + 0.42, colour, style, linewidth=1.5, zorder=1.5)
    axes.set_yticks(range(len(rows)), [_label(gate) for gate in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x", color=drawing.GRID)
    axes.margins(x=0.06)


def _label(gate: Gate) -> str:
    """The gate's name."""
    name = one_line(gate.name)
    name = name.upper() if gate.gate in ("primary", "ratchet") else name
    users = gate.users if gate.gate == "slices" else None
    return f"{name}  ({users:,} users)" if users is not None else name


def _thresholds(gate: Gate, record: DecisionRecord) -> dict[str, float]:
    """What the lower end must exceed, by the name of its line; none where nothing is decided."""
    found = {}
    if gate.outcome != "shown" and gate.threshold is not None:
        found["margin"] = gate.threshold
    policy = (record.policy or {}).get("primary") or {}
    if gate.gate == "primary" and policy.get("min_gain"):  # else it is the zero line
        found["gain"] = policy["min_gain"]
    return found


def _legend(figure: "Figure", panels: dict[str, list[Gate]], record: DecisionRecord) -> None:
    """What markers and lines mean, of those that are drawn."""
    from matplotlib.lines import Line2D

    rows = [gate for found in panels.values() for gate in found]
    outcomes = {gate.outcome for gate in rows}
    handles = [
        Line2D(
            *([], []),
            marker=marker,
            color=edge,
            markerfacecolor=fill,
            markersize=7,
            label=_MEANINGS[outcome],
        )
        for outcome, (marker, edge, fill) in _MARKS.items()
        if outcome in outcomes
    ]
    drawn = {name for gate in rows for name in _thresholds(gate, record)}
    handles += [
        Line2D([], [], linestyle=style, color=colour, label=text)
        for name, (style, colour, text) in _LINES.items()
        if name in drawn
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False)


def _say(axes: "Axes", text: str) -> None:
    axes.set_axis_off()
    axes.text(0, 0.5, text, transform=axes.transAxes, verticalalignment="center")
