"""A report.json as tables for people."""

from typing import Any

from recctl.evaluation.params import FULL
from recctl.render.console import SIMPLE_HEAD, Console, Table, Text

_SAMPLED_NOTE = "beside the paper only; gates use full ranking"


def show(report: dict[str, Any]) -> None:
    """Print a report's tables."""
    console = Console()
    for table in tables(report):
        console.print(table)
    missed = report["unreachable_targets"]
    console.print(
        f"Targets that cannot be recommended, counted as misses: {missed['cold']:,} cold, "
        f"{missed['seen']:,} in their own history."
    )
    again = report.get("repeats")  # a report of before has none
    if again:
        console.print(
            f"Repeats: {again['repeat_share']:.1%} of the training interactions and "
            f"{again['repeated_target_share']:.1%} of the targets are with an item that the user "
            f"had before; the seen filter hides {again['hidden_target_share']:.1%} of the targets."
        )


def tables(report: dict[str, Any]) -> list[Table]:
    """The tables of a report: each protocol, then slices and what lies beyond accuracy."""
    return [
        *(_protocol(report, name) for name in report["protocols"]),
        _slices(report),
        _beyond(report),
    ]


def _protocol(report: dict[str, Any], protocol: str) -> Table:
    """Models by metrics with their 95% intervals; the best value of each metric in bold."""
    users, catalogue = f"{report['users']:,} test users", f"{report['catalogue']:,} items"
    note = f"{users}, {catalogue}" if protocol == FULL else _SAMPLED_NOTE
    name = "full ranking" if protocol == FULL else protocol
    table = _table(name, note)
    for metric in report["metrics"]:
        table.add_column(metric.upper(), justify="right", no_wrap=True)
    models = report["protocols"][protocol]
    best = {
        metric: max(cells[metric]["value"] for cells in models.values())
        for metric in report["metrics"]
    }
    for model, cells in models.items():
        row = [_cell(cell, cell["value"] == best[metric]) for metric, cell in cells.items()]
        table.add_row(_label(report, model), *row)
    return table


def _slices(report: dict[str, Any]) -> Table:
    """Slices by models, by the primary metric in full ranking."""
    metric = primary_metric(report["metrics"])
    table = _table(f"slices, {metric.upper()} in full ranking", "~ few users: uncertain", "slice")
    table.add_column("users", justify="right", no_wrap=True)
    models = list(report["protocols"][FULL])
    for model in models:
        table.add_column(_label(report, model), justify="right", no_wrap=True)
    for i, one in enumerate(report["slices"]):
        if i and one["slice"] != report["slices"][i - 1]["slice"]:
            table.add_section()
        cells = [one["models"].get(model, {}).get(metric) for model in models]
        best = max((cell["value"] for cell in cells if cell), default=None)
        row = [_cell(cell, cell["value"] == best) if cell else Text("-") for cell in cells]
        users = f"{'~' if one['users'] > 0 and one['few_users'] else ''}{one['users']:,}"
        name = Text.assemble(f"{one['slice']}: {one['group']}", (f"\n{one['rule']}", "dim"))
        table.add_row(name, users, *row)
    return table


def _beyond(report: dict[str, Any]) -> Table:
    """What the recommended lists are like."""
    table = _table(f"beyond accuracy, lists of {report['list_length']}", "full ranking")
    names = ["coverage", "novelty (bits)", "popularity recommended", "of histories", "bias"]
    for name in names:
        table.add_column(name, justify="right")
    for model, figures in report["beyond_accuracy"].items():
        row = ["-" if figure is None else f"{figure:.3f}" for figure in figures.values()]
        table.add_row(_label(report, model), *row)
    return table


def primary_metric(names: list[str]) -> str:
    """The metric that plots and slice tables show: ndcg@10, or the first where it is absent."""
    return "ndcg@10" if "ndcg@10" in names else names[0]


def _table(title: str, note: str, first: str = "model") -> Table:
    heading = Text.assemble((title, "bold"), (f"  {note}", "dim"))
    table = Table(title=heading, title_justify="left", title_style="", box=SIMPLE_HEAD)
    table.add_column(first, no_wrap=True)
    return table


def _label(report: dict[str, Any], model: str) -> str:
    return f"{report['kind']} (model)" if model == "model" else model


def _cell(cell: dict[str, float], best: bool) -> Text:
    value = (_short(cell["value"], 4), "bold" if best else "")
    return Text.assemble(value, (f"\n{_short(cell['low'], 3)}-{_short(cell['high'], 3)}", "dim"))


def _short(value: float, digits: int) -> str:
    """A metric without its leading zero.

    >>> _short(0.1537, 4), _short(1.0, 4)
    ('.1537', '1.0000')
    """
    return f"{value:.{digits}f}".removeprefix("0")
