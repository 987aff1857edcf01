"""Clicks by version and preferences between versions, against loops over the rows."""

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_project as tiny
from typer.testing import CliRunner

from recctl import journal
from recctl.cli.app import app
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.online import clicks, page, report
from recctl.online.interval import greatest

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = 20_000 * DAY + 5 * HOUR
ROWS = ("request", "us", "user", "version", "decision", "items", "challenger", "given_by")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    tiny.set_params(tmp_path)
    return Layout(tmp_path)


def keep(layout: Layout, lists: list[Any], events: list[Any]) -> None:
    """In two files, the first as an earlier recctl wrote them; some events are in no file yet."""
    shown, posted = journal.exposures(layout), journal.events(layout)
    old = [row for row in lists if len(row) == 6]
    for rows in (old, [row for row in lists if len(row) > 6]):
        shown.append([rows])
        shown.finish()
    posted.append([events[::2]])
    posted.finish()
    posted.append([events[1::2]])


def usage(seed: int) -> tuple[list[Any], list[Any]]:
    """Lists of three days, some interleaved, some for histories; and events of all kinds."""
    rng = random.Random(seed)
    lists, events = [], []
    for number in range(300):
        us, items = NOW - rng.randrange(3 * DAY), rng.sample("abcdefgh", 5)
        user = rng.choice(["p1", "p2", "p3", "p4", None])
        row = [f"r{number}", us, user, rng.choice([1, 2]), 9, items]
        if user in ("p1", "p2"):
            row += [3, rng.choices([row[3], 3, None], k=5)]
        lists.append(row)
        for _ in range(rng.randrange(4)):
            item, later = rng.choice("abcdefghx"), rng.choice([1, 20 * HOUR, 25 * HOUR, -HOUR])
            events.append(["u", item, us + later, None, rng.choice([f"r{number}", None, "other"])])
    return lists, events


def by_loops(lists: list[Any], events: list[Any], until: int) -> dict[Any, Any]:
    """By pair: positions, and by user lists, lists with a click, and credit."""
    found: dict[Any, Any] = defaultdict(lambda: (defaultdict(int), defaultdict(lambda: [0, 0, 0])))
    for row in lists:
        one = dict(zip(ROWS, row, strict=False))
        if one["us"] >= until:
            continue
        pair = one["version"], one.get("challenger")
        positions, users = found[pair]
        clicked = {
            item
            for _, item, us, _, request in events
            if request == one["request"] and us < until and abs(us - one["us"]) <= 24 * HOUR
        } & {*one["items"]}
        figures = users[one["user"]]
        figures[0] += 1
        figures[1] += bool(clicked)
        for item in clicked:
            place = one["items"].index(item)
            positions[place + 1] += 1
            team = one["given_by"][place] if pair[1] else None
            figures[2] += (team == pair[1]) - (team == pair[0]) if pair[1] else 0
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_clicks_are_those_of_a_loop_over_lists_and_events(project: Layout, seed: int) -> None:
    lists, events = usage(seed)
    keep(project, lists, events)
    found = clicks.read(project, NOW)
    assert found.until == 20_000 * DAY
    assert found.later == sum(row[1] >= found.until for row in lists) > 0
    expected = by_loops(lists, events, found.until)
    assert found.clicks.keys() == expected.keys()
    for pair, (positions, users) in expected.items():
        one = found.clicks[pair]
        assert one.positions == positions
        rows = zip(one.known, one.lists, one.clicked, one.credit, strict=True)
        alike = sorted((user is not None, *figures) for user, figures in users.items())
        assert sorted(map(tuple, rows)) == alike


def test_on_the_first_day_figures_are_shown_and_nothing_is_judged(project: Layout) -> None:
    us = report.time.time_ns() // 1000
    keep(project, [["r", us, "p", 1, 9, ["a", "b"], 3, [1, 3]]], [["u", "b", us, None, "r"]] * 2)
    found = report.read(project)
    [pair] = found.interleaved
    assert (found.ended, found.versions, found.later) == (False, [], 0)
    assert (pair.clicks, pair.wins, pair.ties, pair.losses) == (1, 1, 0, 0)
    assert pair.preferred == report.Share(1.0, None, None)
    assert pair.better is None
    assert pair.sentence == (
        "Neither version 1 nor version 3 is proven better: of 1 users without a tie 1 preferred "
        "version 3; it is judged when the first day has ended."
    )


def test_a_share_has_the_bounds_of_a_year_of_looks() -> None:
    level = 0.05 / 2 / 365
    credit = np.array([2] * 300 + [-1] * 100 + [0] * 500)
    found = report.preferred(credit)
    values = np.repeat([1.0, 0.0], [300, 100])
    assert found == report.Share(0.75, 1 - greatest(1 - values, level), greatest(values, level))
    assert 0.6 < (found.low or 0) < 0.75 < (found.high or 0) < 0.9
    assert report.preferred(np.zeros(3, np.int64)) == report.Share(None)


def test_the_sentence_names_the_better_version(project: Layout) -> None:
    day = 20_000 * DAY
    lists = [[f"r{n}", day, f"p{n}", 1, 9, ["a", "b"], 3, [1, 3]] for n in range(200)]
    clicked = [["u", "b" if n % 10 else "a", day, None, f"r{n}"] for n in range(200)]
    keep(project, lists, clicked)
    found = report.read(project)
    [pair] = found.interleaved
    assert pair.better == 3
    assert pair.sentence.startswith(
        "Version 3 is proven better than version 1: of 200 users without a tie 180 preferred "
        "version 3 (90.0%, "
    )
    other = report.Preference(1, 3, 5, 5, 5, 20, 0, 180, report.Share(0.1, 0.05, 0.2))
    assert other.better == 1
    assert other.sentence == (
        "Version 1 is proven better than version 3: of 200 users without a tie 20 preferred "
        "version 3 (10.0%, 5.0% to 20.0%)."
    )


def test_people_get_tables_and_programs_json(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    run = CliRunner().invoke
    done = run(app, ["online"])
    assert isinstance(done.exception, UserError)
    assert "the service kept no list" in str(done.exception)
    keep(project, *usage(3))
    done = run(app, ["online"])
    assert done.exit_code == 0
    for part in ("Lists of one version", "Clicks by position", "Interleaved lists", "Neither "):
        assert part in done.stdout
    content = json.loads(run(app, ["online", "--json"]).stdout)
    assert {one["version"] for one in content["versions"]} == {1, 2}
    assert [(one["champion"], one["better"]) for one in content["interleaved"]] == [
        (1, None),
        (2, None),
    ]
    (project.served / "exposures" / "exposures-x.parquet").write_text("x")
    assert "too small" in str(run(app, ["online"]).exception)


def test_what_was_in_the_shadow_is_added_up_by_pair(project: Layout) -> None:
    log = journal.shadows(project)
    rows = [
        (NOW, 1, 2, 0.1 * n, 0.2 * n if n else None, 3, 0 if n else 3, 1.5 * (n > 0))
        for n in range(5)
    ]
    log.append([rows, [(NOW, 3, 2, 1.0, None, 1, 1, 0.0)]])
    first, second = clicks.read_shadows(project)
    assert (first.champion, first.challenger, first.passes) == (1, 2, 5)
    assert (first.lists, first.failed, first.overlap) == (15, 3, 0.5)
    assert (first.p50, first.challenger_p50) == pytest.approx((0.2, 0.5))
    assert (first.p95, first.challenger_p95) == pytest.approx((0.38, 0.77))
    assert second == clicks.Shadow(3, 2, 1, 1, 1, None, 1.0, 1.0, None, None)
    found = report.read(project)
    assert found.as_dict()["shadows"][0]["overlap"] == 0.5
    [grid] = page.grids(found)
    shown = [str(cell) for cell in grid.rows[0]]
    assert shown == ["1", "2", "5", "15", "3", "50.0%", "200.0", "380.0", "500.0", "770.0"]
