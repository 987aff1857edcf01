"""`recctl doctor`: checks everything that training needs, and how to fix it."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo_json

if TYPE_CHECKING:
    from recctl.doctor import Check
    from recctl.render.console import Console


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the packages, the machine, the project, its data and its tracking server.

    Ends with exit code 2 when something prevents the pipeline from running.
    """
    from recctl.doctor import examine

    checks = examine()
    if as_json:
        import dataclasses

        usable = all(check.state != "blocked" for check in checks)
        echo_json({"usable": usable, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        _print(checks)
    if any(check.state == "blocked" for check in checks):
        raise typer.Exit(2)


def _print(checks: "list[Check]") -> None:
    from recctl.render.console import Console, Text

    console = Console()
    show(checks, console)
    blocked = [check.name for check in checks if check.state == "blocked"]
    console.print()
    if blocked:
        console.print(Text.assemble(("Not usable yet", "red"), f": {', '.join(blocked)}"))
    else:
        console.print("Ready: 'dvc repro --pull' can run.")


def show(checks: "list[Check]", console: "Console") -> None:
    """Print every check, and below it how to fix what it found."""
    from recctl.render.console import Table, Text

    marks = {"ok": "✓", "warning": "!", "blocked": "✗"}
    if console.options.ascii_only:
        marks = {"ok": "+", "warning": "!", "blocked": "x"}
    styles = {"ok": "green", "warning": "yellow", "blocked": "red"}
    table = Table.grid(padding=(0, 2))
    for overflow in ("ellipsis", "ellipsis", "fold"):  # a long path is broken, not cut
        table.add_column(overflow=overflow)
    for check in checks:
        table.add_row(Text(marks[check.state], styles[check.state]), check.name, check.found)
        if check.fix:
            table.add_row("", "", Text.assemble(("to do:", "bold"), f" {check.fix}"))
    console.print(table)
