"""`recctl doctor`: is everything here that training needs, and what to do if not."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recctl.doctor import Check


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at the packages, the machine, the project, its data and its tracking server.

    Ends with exit code 2 when something keeps the pipeline from running.
    """
    from recctl.doctor import examine

    checks = examine()
    if as_json:
        _print_json(checks)
    else:
        _print(checks)
    if any(check.state == "blocked" for check in checks):
        raise typer.Exit(2)


def _print_json(checks: "list[Check]") -> None:
    import dataclasses
    import json

    usable = all(check.state != "blocked" for check in checks)
    content = {"usable": usable, "checks": [dataclasses.asdict(check) for check in checks]}
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def _print(checks: "list[Check]") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    marks = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "blocked": "[red]✗[/]"}
    if console.options.ascii_only:
        marks = {"ok": "+", "warning": "!", "blocked": "x"}
    table = Table.grid(padding=(0, 2))
    for overflow in ("ellipsis", "ellipsis", "fold"):  # a long path is broken, not cut
        table.add_column(overflow=overflow)
    for check in checks:
        table.add_row(marks[check.state], check.name, escape(check.found))
        if check.fix:
            table.add_row("", "", f"[bold]to do:[/] {escape(check.fix)}")
    console.print(table)
    blocked = [check.name for check in checks if check.state == "blocked"]
    console.print()
    if blocked:
        console.print(f"[red]Not usable yet[/]: {', '.join(blocked)}")
    else:
        console.print("Ready: nothing keeps 'dvc repro --pull' from running.")
