"""What a stage prints at its end: a short table of names and figures."""

from recctl.render.console import SIMPLE_HEAD, Console, Table


def show(title: str, rows: dict[str, int | float | str], notes: dict[str, str]) -> None:
    """Print one line per figure, with what a note says of it."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, value in rows.items():
        figure = value if isinstance(value, str) else f"{value:,}"
        table.add_row(name, figure, notes.get(name, ""))
    Console().print(table)
