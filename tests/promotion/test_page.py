"""The page of a decision: complete, self-contained, escaped; markdown says the same."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from decision_bodies import (
    ALL,
    COMPARISON,
    FIRST,
    PROMOTED,
    REFUSED,
    REJECTED,
    ROLLBACK,
    gate,
    record,
)
from hypothesis import given
from hypothesis import strategies as st

from recctl.promotion.ledger.log import canonical
from recctl.promotion.view import page, plots, words
from recctl.render import page as rendered

PNG = b"\x89PNG not really"
VOID = {"meta", "br", "img"}
ALLOWED = VOID | {
    *("html", "head", "title", "style", "body", "h1", "h2", "div", "strong", "p", "pre"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "small", "em", "code"),
}


class _Reader(HTMLParser):
    """Reads a page; elements must be allowed, and close in the order in which they opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _unescaped(markdown: str) -> str:
    return re.sub(r"\\(.)", r"\1", markdown)


@pytest.mark.parametrize("name", ALL)
def test_page_is_sound_and_fetches_nothing(name: str) -> None:
    text = page.html(record(ALL[name]), PNG, 7)
    read = _Reader(text)
    assert text.startswith("<!DOCTYPE html>")
    styles = {value for key, value in read.attributes if key == "style"}
    assert styles <= {"text-align:right"}
    sources = [value for key, value in read.attributes if key in ("src", "href", "srcset")]
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(sources) == bool(plots.drawable(record(ALL[name])))
    assert "://" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text  # a browser would refuse what we overlooked


def test_picture_is_inlined_whole() -> None:
    source = dict(_Reader(page.html(record(PROMOTED), PNG, 7)).attributes)["src"]
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == PNG


def test_picture_is_described_in_words() -> None:
    alt = dict(_Reader(page.html(record(PROMOTED), PNG, 7)).attributes)["alt"]
    assert "ndcg@10 +.0131 [+.0041, +.0221]" in alt


def test_rows_of_the_tables() -> None:
    rows = _Reader(page.html(record(REJECTED), PNG, 7)).rows
    wanted = ["NDCG@10", ".2480", ".2279", "-.0201effect -.06", "[-.0291, -.0111]resolves .0121"]
    assert [*wanted, "> -.0050p .4200", "FAILworse"] in rows
    assert [
        "target popularity: tail",
        "122",
        "-.0200",
        "[-.0800, +.0400]",
        "-",
        "too few users",
    ] in rows
    assert ["champion", ".2480", ".3920", ".2480", ".3920"] in rows
    assert ["ratchet", "ndcg@10", "pass", "not worse than version 2, the best ever"] in rows


def test_outcomes_are_marked_for_the_style() -> None:
    text = page.html(record(REJECTED), PNG, 7)
    assert "<strong>FAIL</strong><small>worse</small>" in text
    assert '<div class="verdict rejected"><strong>REJECTED</strong>' in text


@pytest.mark.parametrize("render", ["html", "markdown"])
def test_policy_lineage_evidence_and_how_to_repeat_it(render: str) -> None:
    shown = {
        "html": _Reader(page.html(record(PROMOTED), PNG, 7)).text,
        "markdown": _unescaped(page.markdown(record(PROMOTED), 7)),
    }[render]
    for text in [
        '{"metrics": ["ndcg@10", "hr@10"], "min_gain": 0.0, "margin": 0.005, "better": true}',
        "first_model",
        "9e107d9d372bb6826bd81d3542a419d6.dir",
        "d4" * 32,
        "e5" * 32,
        "a1" * 32,
        "5f" * 32,
        "sha256 of evidence.parquet",
        "f6" * 32,
        "git checkout 0123456789abcdef0123456789abcdef01234567",
        "recctl explain 7",
        "recctl promote --dry-run",
        "uncommitted changes",
    ]:
        assert text in shown


def test_repeating_a_comparison_and_a_rollback() -> None:
    assert "recctl compare workspace 3" in page.markdown(record(COMPARISON))
    assert "How to repeat it" not in page.markdown(record(ROLLBACK), 7)


def test_a_commit_that_is_none_is_no_command() -> None:
    hostile = PROMOTED | {"lineage": {"commit": "x; rm -rf /", "dirty": "false"}}
    assert "git checkout" not in page.html(record(hostile), PNG, 7)


@pytest.mark.parametrize("name", [*ALL, "comparison"])
def test_markdown_says_what_the_page_says(name: str) -> None:
    body = (ALL | {"comparison": COMPARISON})[name]
    wanted = _Reader(page.html(record(body), PNG, 7)).rows
    lines = _unescaped(page.markdown(record(body), 7)).splitlines()
    rows = [line[2:-2].split(" | ") for line in lines if line.startswith("| ")]
    rows = [[cell.replace("<br>", "") for cell in row] for row in rows if "---" not in row[0]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [cell.strip() for cell in row] for row in wanted
    ]
    assert lines[0] == f"# {words.title(record(body), 7)}"


def test_the_policy_stands_in_its_own_order() -> None:
    """Not in the log's, whose keys are sorted by name."""
    body = json.loads(canonical(PROMOTED))
    rows = [row[0] for row in _Reader(page.html(record(body), PNG, 7)).rows]
    place = rows.index("registered_model")
    assert rows[place : place + 4] == ["registered_model", "resamples", "seed", "primary"]


def test_a_first_model_reads_without_a_champion() -> None:
    text = _Reader(page.html(record(FIRST), PNG, 1)).text
    assert "champion: none yet" in text
    assert "Primary metrics" not in text


def test_nothing_compared_shows_no_picture() -> None:
    assert "<img" not in page.html(record(REFUSED), PNG, 7)
    assert "![" not in page.markdown(record(REFUSED), 7)


HOSTILE = '</td><script>alert("1")</script><img src=x onerror=y> & `code` **bold** [a](b) | $x'


def _hostile() -> dict[str, Any]:
    """A decision in which every text from outside is hostile."""
    return PROMOTED | {
        **dict.fromkeys(("sentence", "who", "reason", "registered_model", "time"), HOSTILE),
        "acknowledges": [HOSTILE],
        "gates": [
            gate("guardrails", HOSTILE, "fail", HOSTILE),
            gate("primary", HOSTILE, "fail", HOSTILE, (0.2, 0.3), (-0.2, 0.0)),
            gate("slices", HOSTILE, "fail", HOSTILE, (0.2, 0.3), (-0.2, 0.0)),
        ],
        "challenger": {"version": 4, "digest": HOSTILE, "model": HOSTILE},
        "means": {"full": {HOSTILE: {HOSTILE: 0.1}}, "common": {}},
        "policy": {HOSTILE: HOSTILE},
        "lineage": {HOSTILE: HOSTILE, "commit": HOSTILE},
        "evidence": {"run_id": HOSTILE, "files": {HOSTILE: HOSTILE}},
    }


def test_text_from_outside_is_text() -> None:
    read = _Reader(page.html(record(_hostile()), PNG, 7))  # asserts that no element is added
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert read.text.count("alert(") >= 20


def test_markdown_from_outside_is_text() -> None:
    text = page.markdown(record(_hostile()), 7)
    marks = re.sub(r"<br>|!\[|\]\(intervals\.png\)|^\*\*|\*\*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)[<*`\[]", marks.split("```")[0])


@given(st.text(max_size=40))
def test_any_text_makes_a_sound_page(text: str) -> None:
    body = PROMOTED | {
        "reason": text,
        "sentence": text,
        "gates": [gate("guard", text, "fail", text)],
    }
    _Reader(page.html(record(body), PNG, 7))
    rows = [
        line for line in page.markdown(record(body), 7).splitlines() if line.startswith("| guard |")
    ]
    assert len(rows) == 1


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2, section 1.4.3) of `#rgb` or `#rrggbb`."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["text", "dim", "good", "bad"])
@pytest.mark.parametrize("ground", ["back", "code"])
def test_colours_can_be_read(theme: int, colour: str, ground: str) -> None:
    """Contrast of at least 4.5 to 1, on the page's ground and on the verdict's."""
    found = [re.findall(rf"--{name}: (#\w+)", rendered._STYLE)[theme] for name in (colour, ground)]
    dark, light = sorted(map(_luminance, found))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_page_with_its_real_picture(tmp_path: Path) -> None:
    plots.intervals(record(PROMOTED), tmp_path / "intervals.png")
    picture = (tmp_path / "intervals.png").read_bytes()
    text = page.html(record(PROMOTED), picture, 7)
    assert base64.b64encode(picture).decode() in text
    assert len(text) < 400_000
