"""The status page: what it says, of how many requests and decisions, and that all is escaped."""

import math
import re
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from decision_bodies import FIRST, PROMOTED, REJECTED, ROLLBACK, row
from hypothesis import given
from hypothesis import strategies as st

from recctl.promotion.view import words
from recctl.serve import page
from recctl.serve.door import Passed

LOG = [row(1, FIRST), row(2, REJECTED), row(3, PROMOTED), row(4, ROLLBACK)]


def champion(**given: Any) -> Any:
    """One whose version 3 answers, where nothing else is given."""
    layout = SimpleNamespace(root=Path("<i>shop"))
    current = SimpleNamespace(version=3, decision=4, since="2026-03-01T04:05:06+00:00")
    log = [entry for _, entry in words.served(LOG)]
    fields = {"layout": layout, "current": current, "problem": None, "log": log}
    return SimpleNamespace(**{**fields, **given})


def recent(*requests: tuple[str, int, float]) -> page.Recent:
    found = page.Recent()
    for request in requests:
        found.add(Passed("id", *request))
    return found


def cells(found: page.Recent) -> list[list[str]]:
    """Every row without its time."""
    return [[cell.text for cell in line[:-1]] for line in found.grid().rows]


STATUSES = st.sampled_from([200, 404, 422, 500, 503])


@given(st.lists(st.tuples(STATUSES, st.integers(0, 99)), min_size=1))
def test_requests_are_counted_as_by_hand(requests: list[tuple[int, int]]) -> None:
    ordered = sorted(ms for _, ms in requests)
    half, most = (ordered[math.ceil(len(ordered) * q) - 1] for q in (0.5, 0.99))
    refused = sum(400 <= status < 500 for status, _ in requests)
    failed = sum(status >= 500 for status, _ in requests)
    found = cells(recent(*(("/recommend", status, ms / 1000) for status, ms in requests)))
    counts = [str(number) for number in (len(requests), refused, failed)]
    assert found == [["/recommend", *counts, f"{half}.0", f"{most}.0"]]


def test_paths_are_apart_and_old_requests_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "KEPT", 3)
    busy = [("/recommend", status, 0.1) for status in (500, 500, 200, 200, 200)]
    found = recent(("/recommend", 500, 9.0), ("/", 500, 2.0), *busy)
    assert cells(found) == [
        ["/", "1", "0", "1", "2000.0", "2000.0"],
        ["/recommend", "3", "0", "0", "100.0", "100.0"],
    ]


@given(st.lists(st.tuples(st.sampled_from([None, 1, 2, "stays"]), st.booleans()), max_size=8))
def test_the_versions_that_served_are_the_changes(decided: list[tuple[Any, bool]]) -> None:
    rows = []
    for position, (number, in_force) in enumerate(decided):
        sets = None if number == "stays" else {"champion": number, "previous": None, "best": None}
        rows.append(row(position, PROMOTED | {"sets": sets}, in_force=in_force))
    after = [number for number, in_force in decided if in_force and number != "stays"]
    changes = [number for number, _ in groupby([None, *after])][1:]
    assert [number for number, _ in words.served(rows)] == changes


def test_what_a_person_sees() -> None:
    text = page.html(champion(), recent(("/recommend", 200, 0.0123)))
    assert '<meta http-equiv="refresh" content="10">' in text
    assert "<h1>Recommendations of &lt;i&gt;shop</h1>" in text
    assert "<strong>VERSION 3 SERVES</strong>since 2026-03-01 04:05 UTC, by decision 4<" in text
    assert '<div class="verdict promoted">' in text
    assert "<td>/recommend</td>" in text
    assert moves(text) == ["4 to 3", "3 to 4", "none to 1"]
    assert "decision 4: complaints about &lt;repeated&gt; lists" in text
    assert re.findall(r"<script|<img|src=|href=|url\(", text) == []


def moves(text: str) -> list[str]:
    return re.findall(r"<td>((?:none|\d+) to \d+)</td>", text)


def test_what_is_wrong_is_escaped() -> None:
    text = page.html(champion(problem="no <b>file</b>"), recent(("/<b>", 500, 0.1)))
    assert '<div class="verdict rejected">' in text
    assert "by decision 4; problem: no &lt;b&gt;file&lt;/b&gt;<" in text
    assert "<td>/&lt;b&gt;</td>" in text
    assert '<td style="text-align:right"><strong>1</strong></td>' in text


def test_no_version_and_many() -> None:
    text = page.html(champion(current=None, problem="no version serves yet", log=[]), recent())
    assert "<strong>NONE SERVES</strong>problem: no version serves yet<" in text
    assert "none by the decisions that were read" in text
    many = [row(position, PROMOTED) for position in range(100, 130)]
    numbers = re.findall(r'right">(1\d\d)</td>', page.html(champion(log=many), recent()))
    assert numbers == [str(position) for position in range(129, 109, -1)]
