"""The evaluation's plots: HR@k by k, and slices with their intervals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.render import drawing

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_COLOURS = {
    "model": drawing.BLUE,
    "popularity": drawing.GREY,
    "markov": drawing.ORANGE,
    "item-knn": drawing.GREEN,
    "recent-popularity": drawing.PURPLE,
}
_MARKERS = {
    "model": "o",
    "popularity": "s",
    "markov": "D",
    "item-knn": "^",
    "recent-popularity": "v",
}


def plot_curve(path: Path, curve: "pd.DataFrame", labels: dict[str, str]) -> None:
    """HR@k for k = 1..50 in full ranking; `labels` are the names that the legend shows."""
    from matplotlib.figure import Figure

    with drawing.styled():
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        for model, label in labels.items():
            axes.plot(
                curve["k"],
                curve[model],
                color=_COLOURS[model],
                marker=_MARKERS[model],
                markevery=[0, 4, 9, 19, 29, 39, 49],
                markersize=4.5,
                linewidth=2.2 if model == "model" else 1.5,
                label=label,
            )
        axes.set(title="Hit rate by list length, full ranking", xlabel="k", ylabel="HR@k")
        axes.set_xlim(0, curve["k"].max() + 1)
        axes.set_xticks([1, 5, *range(10, 51, 10)])
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="upper left")
        drawing.save(figure, path, dpi=150)


def plot_slices(
    path: Path, report: list[dict[str, Any]], metric: str, labels: dict[str, str]
) -> None:
    """The metric by slice with 95% intervals, one panel per kind of slice."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(one["slice"] for one in report))
    with drawing.styled():
        figure = Figure(figsize=(max(10, 3.3 * len(names)), 4.5), layout="constrained")
        panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, [one for one in report if one["slice"] == name], metric, labels)
            axes.set_title(f"By {name}")
        panels[0].set_ylabel(f"{metric.upper()}, full ranking")
        panels[0].set_ylim(bottom=0)
        handles, names_shown = panels[0].get_legend_handles_labels()
        figure.legend(handles, names_shown, loc="outside lower center", ncols=5, frameon=False)
        drawing.save(figure, path, dpi=150)


def _panel(axes: "Axes", groups: list[dict[str, Any]], metric: str, labels: dict[str, str]) -> None:
    """One point with its interval per group and model, the models side by side."""
    for i, (model, label) in enumerate(labels.items()):
        shift = (i - (len(labels) - 1) / 2) * 0.16
        cells = [
            (at, one["models"][model][metric]) for at, one in enumerate(groups) if one["users"]
        ]
        values = [cell["value"] for _, cell in cells]
        errors = [
            [cell["value"] - cell["low"] for _, cell in cells],
            [cell["high"] - cell["value"] for _, cell in cells],
        ]
        axes.errorbar(
            [at + shift for at, _ in cells],
            values,
            yerr=errors,
            fmt=_MARKERS[model],
            color=_COLOURS[model],
            markersize=5.5,
            elinewidth=1.4,
            capsize=2.5,
            clip_on=False,
            zorder=3,
            label=label,
        )
    few = ["\n(few)" if one["users"] > 0 and one["few_users"] else "" for one in groups]
    ticks = [
        f"{one['group']}\n{one['users']:,} users{mark}"
        for one, mark in zip(groups, few, strict=True)
    ]
    axes.set_xticks(range(len(groups)), ticks, fontsize=9)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.grid(visible=False, axis="x")
