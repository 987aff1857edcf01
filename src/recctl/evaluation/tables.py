"""The evaluation's report.json as tables."""

from typing import Any

from recctl.evaluation.params import FULL
from recctl.render.console import Console
from recctl.render.grid import Cell, Grid, left, right
from recctl.render.numbers import change, figure, label

_BEYOND = {
    "coverage": "coverage",
    "gini": "Gini",
    "diversity": "diversity",
    "novelty": "novelty (bits)",
    "serendipity": "serendipity",
    "popularity_recommended": "popularity",
    "popularity_history": "of histories",
    "popularity_bias": "bias",
}
"""The columns by their keys; reports of earlier versions lack some."""
_SAMPLED_NOTE = "for comparison with the paper only; gates use full ranking"


def show(report: dict[str, Any]) -> None:
    """Print a report's tables."""
    console = Console()
    for table in tables(report):
        table.print(console)
        console.print()
    missed = report["unreachable_targets"]
    console.print(
        f"Targets that cannot be recommended, counted as misses: {missed['cold']:,} cold, "
        f"{missed['seen']:,} in their own history."
    )
    again = report.get("repeats")  # absent from older reports
    if again:
        console.print(
            f"Repeats: {again['repeat_share']:.1%} of the training interactions and "
            f"{again['repeated_target_share']:.1%} of the targets are with an item that the user "
            f"had before; the seen filter hides {again['hidden_target_share']:.1%} of the targets."
        )
    for line in _cautions(report):
        console.print(line)


def _cautions(report: dict[str, Any]) -> list[str]:
    """What the figures depend on; nothing of it is in older reports."""
    lines = []
    if (report.get("ties") or {}).get("tied_targets"):
        lines.append(
            f"Ties in time: {report['ties']['tied_target_share']:.1%} of the targets have the time "
            "of another interaction of their user; among these the order of rows in the log "
            "decides what comes next."
        )
    if report.get("split") == "leave-one-out":
        lines.append(
            "Leave-one-out: training has interactions of other users that are later than a "
            "user's target. The protocol global-time has none (docs/evaluation.md)."
        )
    if report.get("shuffled"):
        found = report["shuffled"]
        moved = change(-found["value"], -found["high"], -found["low"])
        lines.append(
            f"Order: {label(found['metric'])} of the model is {figure(found['before'])}; with the "
            f"items of each history shuffled it changes by {moved}."
        )
    return lines


def tables(report: dict[str, Any]) -> list[Grid]:
    """The tables of a report: each protocol, the slices, and figures beyond accuracy."""
    return [
        *(_protocol(report, name) for name in report["protocols"]),
        _slices(report),
        _beyond_accuracy(report),
    ]


def _protocol(report: dict[str, Any], protocol: str) -> Grid:
    """Models by metrics with their 95% intervals; the best value of each metric in bold."""
    users, targets = report["users"], report.get("targets", report["users"])
    each = f", {targets:,} targets" if targets > users else ""
    size = f"{users:,} test users{each}, {report['catalogue']:,} items"
    title, note = ("full ranking", size) if protocol == FULL else (protocol, _SAMPLED_NOTE)
    names = report["metrics"]
    grid = Grid(title, [*left("model", whole=True), *right(*map(label, names), whole=True)], note)
    models = report["protocols"][protocol]
    best = {name: max(cells[name]["value"] for cells in models.values()) for name in names}
    for model, cells in models.items():
        row = [_cell(cell, cell["value"] == best[name]) for name, cell in cells.items()]
        grid.add(_label(report, model), *row)
    return grid


def _slices(report: dict[str, Any]) -> Grid:
    """Slices by models, by the primary metric in full ranking."""
    metric, models = primary_metric(report["metrics"]), list(report["protocols"][FULL])
    names = ["users", *(_label(report, model) for model in models)]
    columns = [*left("slice", whole=True), *right(*names, whole=True)]
    note = "~ few users: uncertain"
    grid = Grid(f"slices, {label(metric)} in full ranking", columns, note)
    for i, one in enumerate(report["slices"]):
        if i and one["slice"] != report["slices"][i - 1]["slice"]:
            grid.rule()
        cells = [one["models"].get(model, {}).get(metric) for model in models]
        best = max((cell["value"] for cell in cells if cell), default=None)
        row = [_cell(cell, cell["value"] == best) if cell else "-" for cell in cells]
        users = f"{'~' if one['users'] > 0 and one['few_users'] else ''}{one['users']:,}"
        grid.add(Cell(f"{one['slice']}: {one['group']}", more=one["rule"]), users, *row)
    return grid


def _beyond_accuracy(report: dict[str, Any]) -> Grid:
    """Coverage, novelty and popularity of the recommended lists."""
    metric, unbiased = primary_metric(report["metrics"]), report.get("unbiased", {})
    title = f"beyond accuracy, lists of {report['list_length']}"
    names = [*_BEYOND.values(), f"unbiased {label(metric)}"]
    note = "unbiased: weighted by inverse propensity, for information only"
    grid = Grid(title, [*left("model", whole=True), *right(*names)], note)
    for model, figures in report["beyond_accuracy"].items():
        values = [figures.get(name) for name in _BEYOND]
        weighted = unbiased.get("models", {}).get(model, {}).get(metric)
        row = ["-" if value is None else f"{value:.3f}" for value in values]
        grid.add(_label(report, model), *row, "-" if weighted is None else figure(weighted))
    return grid


def primary_metric(names: list[str]) -> str:
    """The metric that plots and slice tables show: ndcg@10, or the first where it is absent."""
    return "ndcg@10" if "ndcg@10" in names else names[0]


def _label(report: dict[str, Any], model: str) -> str:
    return f"{report['kind']} (model)" if model == "model" else model


def _cell(cell: dict[str, float], best: bool) -> Cell:
    interval = f"{figure(cell['low'], 3)}-{figure(cell['high'], 3)}"
    return Cell(figure(cell["value"]), "strong" if best else "", interval)
