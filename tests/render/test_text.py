"""Text from outside is shown literally: at a terminal, as JSON, in markdown and HTML."""

import doctest
import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from recctl.render import text
from recctl.render.console import SIMPLE_HEAD, Console, Table, Text
from recctl.render.text import literal

HOSTILE = [
    *("[/x]", "[red]", "[link=http://y]z[/]", ":cat:", "01:23:45:cd:89:ab", "\\[bold]", "a\\"),
    *("|", "`x`", "$a_b^c$", "{0}", "%s", "журнал", "日本語", "é"),
]
"""Printable: shown as they are."""
HIDDEN = {
    "\x1b[31m": r"\x1b[31m", "\r": r"\r", "\n": r"\n", "\t": r"\t", "\x7f": r"\x7f",
    "\x9b1m": r"\x9b1m", "\u202e": r"\u202e", "\u200b": r"\u200b", "\u2066": r"\u2066",
    "\ufeff": r"\ufeff", "\u2028": r"\u2028", "\u3164": r"\u3164", "\udc80": r"\udc80",
    "\U000e0041": r"\U000e0041", "\0": r"\x00",
}  # fmt: skip


def console(width: int = 80, encoding: str = "utf-8", terminal: bool = True) -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    if not terminal:
        return Console(file=file)
    return Console(file=file, width=width, force_terminal=True, color_system=None)


def printed(there: Console) -> str:
    there.file.flush()
    assert isinstance(there.file, io.TextIOWrapper)
    return there.file.buffer.getvalue().decode(there.file.encoding)  # type: ignore[attr-defined]


def table(*cells: str, title: str = "") -> Table:
    found = Table(title=title, box=SIMPLE_HEAD)
    found.add_column(cells[0])
    found.add_column("end")
    for cell in cells:
        found.add_row(cell, "|")
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_printable_text_is_shown_as_it_is(name: str) -> None:
    there = console()
    there.print(name)
    there.print(table(name, title=name))
    there.print(Text.assemble((name, "bold"), name))
    assert printed(there).count(name) >= 6


@pytest.mark.parametrize("name", HIDDEN, ids=HIDDEN.values())
def test_hidden_characters_are_escapes(name: str) -> None:
    there = console()
    there.print(f"a{name}b")
    there.print(table(f"a{name}b", title=f"a{name}b"))
    found = printed(there)
    assert found.count(f"a{HIDDEN[name]}b") == 4
    assert literal(found, keep="\n") == found


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_nothing_hidden_is_printed(name: str) -> None:
    there = console()
    there.print(table(name, title=name), Text(name), name)
    assert not {unicodedata.category(char) for char in printed(there)} & {"Cf", "Cs", "Zl", "Zp"}
    assert literal(literal(name)) == literal(name)


def test_wide_signs_are_aligned() -> None:
    there = console()
    there.print(table("ab", "日本", "e\u0301"))
    ends = [line.rstrip() for line in printed(there).splitlines() if line.rstrip().endswith("|")]
    assert len(ends) == 3
    assert len({cell_len(line) for line in ends}) == 1


def test_what_the_terminals_code_lacks_is_escaped_before_the_layout() -> None:
    there = console(encoding="iso-8859-1")
    there.print(table("журнал", "é"))
    lines = [line.rstrip() for line in printed(there).splitlines() if line.rstrip().endswith("|")]
    assert r"\u0436\u0443" in lines[0]
    assert lines[0].index("|") == lines[1].index("|")


def test_a_long_id_is_cut_visibly_on_a_terminal_alone() -> None:
    long = "日" * 500
    there, file = console(width=60), console(terminal=False)
    for one in (there, file):
        one.print(table(one.cell(long), one.cell("short")))
    shown, whole = printed(there), printed(file)
    assert "日日 …" in shown
    assert "short" in shown
    assert max(map(len, shown.splitlines())) <= 60
    assert long in whole
    assert "…" not in whole


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "iso-8859-1"])
@given(value=st.text(max_size=30))
def test_json_reads_back_whatever_the_terminal_shows(encoding: str, value: str) -> None:
    before, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), encoding)
    try:
        text.echo_json({"id": value})
        said = sys.stdout.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    finally:
        sys.stdout = before
    assert json.loads(said) == {"id": value}
    assert literal(said, keep="\n") == said


def test_markdown_and_html_mean_nothing() -> None:
    name = "a|b`c` <script> ![x](http://y) www.z $m$"
    assert text.markdown(name) == (r"a\|b\`c\` \<script\> !\[x\](http\://y) www\.z \$m\$")
    assert text.html("<img src=\"x\" onerror='y'>\x1b") == (
        "&lt;img src=&quot;x&quot; onerror=&#x27;y&#x27;&gt;\\x1b"
    )


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(text)
    assert result.attempted > 2
    assert result.failed == 0
