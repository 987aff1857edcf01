"""One table for all readers: a terminal (rich), markdown and HTML.

Cells are data and are shown literally. Only a cell's mark carries meaning, and never colour alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from recctl.render.console import SIMPLE_HEAD, Console, Table, Text
from recctl.render.text import markdown as inline

Mark = Literal["", "good", "bad", "warning", "strong", "dim"]

STYLES: dict[Mark, str] = {
    "": "",
    "good": "green",
    "bad": "bold red",
    "warning": "bold yellow",
    "strong": "bold",
    "dim": "dim",
}
"""What a mark is on a terminal."""
_EMPHASIS = {"good": "*", "bad": "**", "warning": "**", "strong": "**"}
"""What a mark is in the markdown from which HTML is made."""

BREAK = "\u2028"
"""A line break of a cell on its way to HTML; `literal` keeps it out of text from outside."""


@dataclass(frozen=True)
class Cell:
    """A cell with a mark; `more` holds further, less important lines."""

    text: str
    mark: Mark = ""
    more: str = ""
    link: str = ""
    """A page's address, for HTML."""

    def __str__(self) -> str:
        return f"{self.text}\n{self.more}" if self.more else self.text

    def as_text(self) -> Text:
        """Styled for a terminal."""
        more = [(f"\n{self.more}", "dim")] if self.more else []
        return Text.assemble((self.text, STYLES[self.mark]), *more)

    def as_markdown(self, *, for_html: bool = False) -> str:
        """Lines joined by `<br>`; for HTML by BREAK, with the mark as emphasis."""
        first, *more = [inline(line) for line in str(self).split("\n")]
        if not for_html:
            return "<br>".join([first, *more])
        sign = _EMPHASIS.get(self.mark, "") if first.strip() else ""
        first = f"[{first}]({self.link})" if self.link else first
        return BREAK.join([f"{sign}{first}{sign}", *more])


@dataclass(frozen=True)
class Column:
    """A column and how a terminal fits it."""

    name: str
    right: bool = False
    """Figures: aligned at the right."""
    whole: bool = False
    """Never wrapped."""
    fold: bool = False
    """Wrapped inside words too."""
    cut: bool = False
    """Ids and titles: one that is very long is cut visibly."""
    ratio: int | None = None
    """Takes this share of the width that is left."""


def left(*names: str, whole: bool = False, fold: bool = False, cut: bool = False) -> list[Column]:
    """Columns of text."""
    return [Column(name, whole=whole, fold=fold, cut=cut) for name in names]


def right(*names: str, whole: bool = False) -> list[Column]:
    """Columns of figures."""
    return [Column(name, right=True, whole=whole) for name in names]


@dataclass
class Grid:
    """A table: title, a note on how to read it, columns and rows."""

    title: str
    columns: list[Column]
    note: str = ""
    rows: list[list[Cell]] = field(default_factory=list)
    rules: set[int] = field(default_factory=set)
    """Numbers of the rows below which a terminal draws a line."""

    @classmethod
    def of(cls, rows: list[dict[str, Any]]) -> Self:
        """A table of dictionaries: a column for each key, empty where a row has None or nothing."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        grid = cls("", left(*names))
        for row in rows:
            grid.add(*("" if row.get(name) is None else str(row[name]) for name in names))
        return grid

    def add(self, *cells: Cell | str, mark: Mark = "") -> None:
        """Add a row; `mark` is that of the cells given as str."""
        assert len(cells) == len(self.columns), f"{len(cells)} cells, {len(self.columns)} columns"
        self.rows.append([cell if isinstance(cell, Cell) else Cell(cell, mark) for cell in cells])

    def rule(self) -> None:
        """Draw a line below the rows so far."""
        self.rules.add(len(self.rows) - 1)

    def table(self, console: Console | None = None) -> Table:
        """The table of rich, without its title; `console` decides what is cut."""
        table = Table(
            box=SIMPLE_HEAD,
            show_header=any(column.name for column in self.columns),
            pad_edge=False,
            show_edge=False,
            collapse_padding=True,
        )
        for column in self.columns:
            table.add_column(
                Text(column.name),
                justify="right" if column.right else "left",
                no_wrap=column.whole,
                overflow="fold" if column.fold else "ellipsis",
                ratio=column.ratio,
            )
        for number, row in enumerate(self.rows):
            cells = zip(row, self.columns, strict=True)
            shown = [_shortened(cell, column, console).as_text() for cell, column in cells]
            table.add_row(*shown, end_section=number in self.rules)
        return table

    def print(self, console: Console) -> None:
        """Print the title with the note, and the table."""
        if self.title:  # not rich's own title, which is folded at the table's width
            note = f"  {self.note}" if self.note else ""
            console.print(Text.assemble((self.title, "bold"), (note, "dim")))
        console.print(self.table(console))

    def listed(self) -> str:
        """A line of markdown for each row, where a page is too narrow; without empty cells."""
        names = [inline(column.name) for column in self.columns]
        lines = [zip(names, row, strict=True) for row in self.rows]
        return "\n".join(
            "- " + "; ".join(f"{name} {cell.as_markdown()}" for name, cell in line if cell.text)
            for line in lines
        )

    def markdown(self, *, for_html: bool = False) -> str:
        """The note and the table as markdown (GFM)."""
        header = [Cell(column.name) for column in self.columns]
        rule = ["---:" if column.right else "---" for column in self.columns]
        lines = [
            [cell.as_markdown(for_html=for_html) for cell in row] for row in [header, *self.rows]
        ]
        table = "\n".join(map(_line, [lines[0], rule, *lines[1:]]))
        return f"{inline(self.note)}\n\n{table}" if self.note else table


def _shortened(cell: Cell, column: Column, console: Console | None) -> Cell:
    if not column.cut or console is None:
        return cell
    return Cell(console.cell(cell.text), cell.mark, cell.more)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
