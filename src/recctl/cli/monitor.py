"""`recctl monitor`: how the champion does on what came after its training."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recctl.monitoring.report import Report


def monitor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the champion on the interactions that came after its training.

    A champion that has fallen is a result: the exit code is 0.
    """
    from recctl.layout import Layout
    from recctl.monitoring.watch import watch

    report = watch(Layout.find(), lambda line: typer.echo(f"recctl: {line}", err=True))
    if as_json:
        import json

        typer.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False))
    else:
        _print(report)


_WIDTH = 120
"""Columns where the output is no terminal: a log keeps whole lines."""


def _print(report: "Report") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from recctl.monitoring import page

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    rows = page.rows(report)
    if rows:
        table = Table(box=SIMPLE_HEAD)
        for place, name in enumerate(page.header(report)):
            table.add_column(name, justify="right" if place else "left")
        for place, row in enumerate(rows):
            table.add_row(*map(Text, row), style="bold" if place == len(rows) - 1 else "")
        console.print(table)
    typer.echo(report.sentence)  # in one line
