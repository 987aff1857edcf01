"""One table for a terminal, markdown and HTML; pages made of blocks."""

import doctest
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.render import numbers, page
from recctl.render.console import Console
from recctl.render.grid import Cell, Grid, left, right
from recctl.render.text import literal


def grid(*names: str) -> Grid:
    found = Grid("models", [*left("model", cut=True), *right("HR@10")], "of users")
    for name in names:
        found.add(name, Cell(".1234", "bad", "low"))
    return found


def printed(shown: Grid, width: int = 60) -> str:
    file = io.StringIO()
    shown.print(Console(file=file, width=width, force_terminal=True, color_system=None))
    return file.getvalue()


class Words(HTMLParser):
    """The tags of a page and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_terminal_shows_title_note_and_aligned_figures() -> None:
    lines = [line.rstrip() for line in printed(grid("pop", "bert4rec")).splitlines()]
    assert lines[0] == "models  of users"
    rows = [line for line in lines if ".1234" in line]
    assert [row.split() for row in rows] == [["pop", ".1234"], ["bert4rec", ".1234"]]
    assert len({row.index(".1234") for row in rows}) == 1


def test_a_long_id_is_cut_on_a_terminal_only() -> None:
    shown = grid("x" * 500)
    assert "x…" in printed(shown)
    assert "x" * 500 in shown.markdown()


def test_a_rule_is_drawn_below_the_rows_so_far() -> None:
    shown = grid("a")
    shown.rule()
    shown.add("b", "1")
    lines = printed(shown).splitlines()
    below = lines[[line.split()[:1] for line in lines].index(["low"]) + 1]
    assert not below.strip("─ ")
    assert any(line.startswith("b") for line in lines)


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(AssertionError, match="1 cells, 2 columns"):
        grid().add("a")


def test_markdown() -> None:
    assert grid("a|b").markdown().splitlines() == [
        "of users",
        "",
        "| model | HR@10 |",
        "| --- | ---: |",
        r"| a\|b | .1234<br>low |",
    ]


def test_html() -> None:
    found = page.html_block(grid("a|b"))
    assert "<td>a|b</td>" in found
    assert '<td style="text-align:right"><strong>.1234</strong><small>low</small></td>' in found
    assert found.startswith("<p>of users</p>")
    assert found.endswith("</table></div>")


@given(name=st.text(st.characters(codec="utf-8"), max_size=30))
def test_text_from_outside_is_text_in_html(name: str) -> None:
    cell = Words(page.html_block(grid(name)))
    assert set(cell.tags) <= {"p", "div", "table", "thead", "tbody", "tr", "th", "td"} | {
        "strong", "small"
    }  # fmt: skip
    shown = re.sub(r"\s+", " ", cell.text)
    first = re.sub(r"\s+", " ", "".join(literal(one) for one in name.split("\n"))).strip()
    assert first.replace(" ", "") in shown.replace(" ", "")
    line = literal(name)
    lead = Words(page.html_block(page.paragraph(line)))
    assert set(lead.tags) <= {"p"}
    assert re.sub(r"\s+", "", lead.text) == re.sub(r"\s+", "", line)


@pytest.mark.parametrize(
    "line", ["- a", "+ a", "1. a", "12) a", "===", "---", "# a", "> a", "    a", "~~~", "[a]: b"]
)
def test_a_paragraph_stays_a_paragraph(line: str) -> None:
    found = Words(page.html_block(page.paragraph(f"first\n{line}")))
    assert found.tags == ["p", "br"]
    assert line.strip() in found.text


def test_code_cannot_end_its_fence() -> None:
    found = Words(page.html_block(page.code("a\n```\n<b>")))
    assert found.tags == ["pre", "code"]
    assert found.text.strip() == "a\n```\n<b>"


def test_a_page_stands_alone() -> None:
    url = "data:image/png;base64,AAAA"
    blocks = [page.heading("a <b>"), page.picture("[x]", url), grid("m")]
    found = page.html("t <i>", blocks, verdict=("promoted", "PROMOTED", "all <well>"))
    words = Words(found)
    assert "i" not in words.tags
    assert "b" not in words.tags
    assert f'<img src="{url}" alt="[x]" />' in found
    assert '<div class="verdict promoted"><strong>PROMOTED</strong>all &lt;well&gt;</div>' in found
    assert page.markdown(blocks).startswith("## a \\<b\\>\n\n![\\[x\\]](data:")


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(numbers)
    assert result.attempted > 4
    assert result.failed == 0
