"""What a stage prints at its end: a short table of names and figures."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH = 120
"""Columns where the output is no terminal: a log keeps whole lines."""


def show(title: str, rows: dict[str, int | float | str], notes: dict[str, str]) -> None:
    """Print one line per figure, with what a note says of it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value in rows.items():
        figure = value if isinstance(value, str) else f"{value:,}"
        table.add_row(Text(name), Text(figure), Text(notes.get(name, "")))
    console.print(table)
