"""The summary that a stage prints at its end: names and figures."""

from recctl.render.console import Console
from recctl.render.grid import Cell, Grid, left, right


def show(title: str, rows: dict[str, int | float | str], notes: dict[str, str]) -> None:
    """Print one row per figure, with its note if it has one."""
    grid = Grid(title, [*left(""), *right(""), *left("")])
    for name, value in rows.items():
        figure = value if isinstance(value, str) else f"{value:,}"
        grid.add(name, figure, Cell(notes.get(name, ""), "dim"))
    grid.print(Console())
