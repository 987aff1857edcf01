"""The one place where rich prints: text from outside is shown literally by every command.

A `str` that is printed, or is a table's cell, title or heading, is data: one line in which neither
markup nor emoji codes nor control characters mean anything. A `Text` is made by our code: it may
have styles and lines, and what it is made of is shown as literally. A test forbids rich's own
Console and Text elsewhere.
"""

from typing import Any

import rich.console
import rich.text
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.table import Table

from recctl.render.text import literal

__all__ = ["SIMPLE_HEAD", "Console", "Table", "Text"]

_WHOLE = 10**6
"""Columns where the output is no terminal: nothing in it is cut or folded."""
_FEWEST = 20
"""Columns that are left to an id or a title on a narrow terminal."""


class Text(rich.text.Text):
    """Styled text of several lines at most; what is in it is shown literally."""

    def __init__(self, text: str = "", *args: Any, **settings: Any) -> None:
        super().__init__(literal(text, keep="\n"), *args, **settings)

    def append(self, text: Any, style: Any = None) -> "Text":
        """Add text with an optional style."""
        super().append(literal(text, keep="\n") if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(cls, *parts: Any, **settings: Any) -> "Text":
        """Text of several parts: str, Text, or (str, style)."""
        text = super().assemble(*parts, **settings)
        assert isinstance(text, Text)
        return text


class Console(rich.console.Console):
    """Where a command prints; `wide` is the width of an output that is no terminal."""

    def __init__(self, *, wide: int = _WHOLE, **settings: Any) -> None:
        super().__init__(**settings, markup=False, emoji=False, highlight=False)
        if not self.is_terminal and "width" not in settings:
            self.width = wide

    def render_str(self, text: str, **settings: Any) -> rich.text.Text:
        """The text of a str; rich calls it for all that is printed, cells and titles too."""
        settings |= {"markup": False, "emoji": False, "highlight": False}
        return super().render_str(self._shown(text), **settings)

    def _shown(self, text: str) -> str:
        """Literal, and in the terminal's code: escapes for what that lacks, before the layout."""
        return literal(text).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def cell(self, text: str) -> str:
        """An id or a title in a table: cut visibly on a terminal, where it is very long.

        At half the width, so that the other columns are visible.
        """
        shown, most = self._shown(text), max(_FEWEST, self.width // 2)
        if not self.is_terminal or cell_len(shown) <= most:
            return shown
        dots = "..." if self.options.ascii_only else "…"
        return set_cell_size(shown, most - cell_len(dots)) + dots
