"""Text from outside (ids, titles, names, reasons) on its way to a person or a program.

Whatever a data set holds is shown as it is: characters that would steer a terminal, turn the
reading direction or show nothing are written as escapes, and markup means nothing.
"""

import html as escaping
import json
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

Say = Callable[[str], None]
"""Shows a line, as `echo` does."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control, format (bidirectional, zero width) and half characters."""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that show nothing."""


def literal(text: str, keep: str = "") -> str:
    """The text on one line, hidden characters as escapes; those in `keep` stay.

    >>> literal("[red]\\x1b[31m\\n:cat:\\u202e")
    '[red]\\\\x1b[31m\\\\n:cat:\\\\u202e'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if char not in keep and _hidden(char) else char
        for char in text
    )


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN or char in _BLANK


def one_line(text: str) -> str:
    """A sentence that may have line breaks, such as a reason that a person gave, on one line.

    >>> one_line("too\\nold \\x1b[31m")
    'too old \\\\x1b[31m'
    """
    return literal(" ".join(text.split()))


def echo(text: str = "", err: bool = False, end: str = "\n") -> None:
    """Print one line, literally."""
    print(literal(text), file=sys.stderr if err else sys.stdout, end=end, flush=True)


def say(line: str) -> None:
    """Print a command's progress to stderr."""
    echo(f"recctl: {line}", err=True)


def echo_json(value: Any) -> None:
    """Print a value as JSON that reads back as it was, whatever the terminal can show."""
    readable = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not readable, default=str)
    print("".join(map(_in_json, text)), flush=True)


def _in_json(char: str) -> str:
    if char == "\n" or not _hidden(char):
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


_MARKS = re.compile(r"[\\`*_\[\]<>|#~&$]|:(?=//)|(?<=www)\.", re.IGNORECASE)


def markdown(text: str) -> str:
    """The text where markdown is read: its marks, HTML's and addresses mean nothing.

    >>> markdown("a|b ![x](http://y)")
    'a\\\\|b !\\\\[x\\\\](http\\\\://y)'
    """
    return _MARKS.sub(r"\\\g<0>", literal(text))


def html(text: str) -> str:
    """The text where HTML is read; its lines stay."""
    return escaping.escape(literal(text, keep="\n"), quote=True)
