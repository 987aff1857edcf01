"""The report in words, as a page and as a picture."""

import dataclasses
import doctest
import importlib
import re
from pathlib import Path

import matplotlib.image
import pytest

from recctl.monitoring import page, plots
from recctl.monitoring.figures import Alike, Day, iso, number_of, of_points
from recctl.monitoring.report import Former, Report


def day(number: int, value: float = 0.25, events: int = 300, last: int | None = None) -> Day:
    return Day(
        day=iso(number),
        last=iso(number if last is None else last),
        events=events,
        users=events // 2,
        cold=events // 10,
        seen=3,
        newcomers=6,
        values={"ndcg@10": value, "hr@10": 2 * value},
        low=value - 0.02,
        high=value + 0.02,
    )


def report(days: int = 3, **changes: object) -> Report:
    """Days from 2026-11-23 on, at .25 all of them; promoted at .26 with a margin of .005."""
    series = [day(20_780 + number) for number in range(days)]
    last = series[-7:]
    window = dataclasses.replace(
        day(number_of(last[0].day), events=900, last=number_of(last[-1].day))
    ) if last else None  # fmt: skip
    like = Alike(900, 450, fewest=0, value=0.25, low=0.23, high=0.27, at_most=0.28)
    whole = Report(
        version=7,
        model="bert4rec",
        registered_model="recommender",
        metric="ndcg@10",
        log_end="2026-11-22T23:00:00+00:00",
        promoted_value=0.26,
        promoted_least=0.25,
        margin=0.005,
        minimum_events=200,
        minimum_users=30,
        window_days=7,
        series=series,
        window=window,
        former=[],
        alike=like if last else None,
    )
    return dataclasses.replace(whole, **changes)


@pytest.mark.parametrize(
    ("least", "events", "users", "verdict"),
    [
        (0.26, 900, 30, "holds"),
        (0.285, 900, 30, "holds"),  # .28 is not below .285 - .005
        (0.2851, 900, 30, "fallen"),
        (0.2851, 200, 30, "fallen"),
        (0.2851, 199, 30, "too few events"),
        (0.2851, 900, 29, "too few events"),  # one busy account is no evidence
        (None, 199, 30, "too few events"),
        (None, 200, 30, "no promotion figure"),
        (0.1, 200, 30, "holds"),
    ],
)
def test_the_bound_decides_and_not_the_point(
    least: float | None, events: int, users: int, verdict: str
) -> None:
    window = dataclasses.replace(day(20_780, events=events), users=users)
    changes = {"promoted_value": least and least + 0.05, "promoted_least": least}
    assert report(window=window, **changes).verdict == verdict
    assert report(window=None, **changes).verdict == "nothing after its training"


@pytest.mark.parametrize(
    ("events", "users", "value", "verdict"),
    [
        (200, 30, 0.25, "holds"),
        (200, 30, 0.1, "fallen"),
        (199, 30, 0.1, "not comparable"),
        (200, 29, 0.1, "not comparable"),
        (0, 0, 0.0, "not comparable"),
    ],
)
def test_only_events_like_the_promotions_test_decide(
    events: int, users: int, value: float, verdict: str
) -> None:
    """All events together are at .25, which would hold."""
    like = Alike(events, users, 4, value, low=value - 0.02, high=value + 0.02, at_most=value + 0.03)
    one = report(alike=like)
    assert one.verdict == verdict
    assert "by users with 4 items before" in one.sentence or verdict == "not comparable"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"alike": Alike(150, 20, 4, value=0.2, low=0.1, high=0.3, at_most=0.4)},
            "Not compared: of 900 events of 2026-11-23 to 2026-11-25 only 150, of 20 users, are "
            "of users with 4 items before, as the test users had when version 7 was promoted; 200 "
            "of 30 users are needed.",
        ),
        (
            {},
            "Holds: NDCG@10 of version 7 is .2500 (at most .2800) on 900 events of 2026-11-23 to "
            "2026-11-25, each user once; at its promotion it was .2600 (at least .2500), the "
            "margin is .0050.",
        ),
        (
            {"promoted_value": 0.4, "promoted_least": 0.39},
            "Fallen: NDCG@10 of version 7 is .2500 (at most .2800) on 900 events of 2026-11-23 to "
            "2026-11-25, each user once; at its promotion it was .4000 (at least .3900), the "
            "margin is .0050.",
        ),
        (
            {"minimum_events": 1000},
            "No conclusion about version 7: 2026-11-23 to 2026-11-25 had 900 events of "
            "450 users after its training, and 1,000 of 30 users are needed.",
        ),
        (
            {"promoted_value": None, "promoted_least": None},
            "NDCG@10 of version 7 is .2500 (at most .2800) on 900 events of 2026-11-23 to "
            "2026-11-25, each user once; the decision that made it champion has no NDCG@10 "
            "to compare with.",
        ),
        (
            {"window": None, "series": []},
            "Nothing came after the training of version 7, whose log ends "
            "2026-11-22T23:00:00+00:00.",
        ),
    ],
)
def test_one_sentence_says_what_was_seen(changes: dict[str, object], sentence: str) -> None:
    assert report(**changes).sentence == sentence


def test_the_page_has_every_day_the_window_and_how_to_read_it() -> None:
    text = page.markdown(report(former=[Former(5, [day(20_770, 0.1, 100), day(20_771, 0.4, 200)])]))
    assert text.startswith("# The champion after its training: holds\n")
    assert (
        "| 2026-11-24 | 300 | 150 | 10.0% | 1.0% | 2.0% | .2500 | .5000 | .2300 to .2700 |" in text
    )
    assert "| last 3 days | 900 | 450 | 10.0% | 0.3% | 0.7% | .2500 | .5000 |" in text
    assert "| version 5 | 2026-11-13 to 2026-11-14 | 300 | .3000 |" in text
    assert page.NOTE in text


@pytest.mark.parametrize("changes", [{}, {"former": [Former(5, [day(20_770)])]}])
def test_tables_of_the_page_are_whole(changes: dict[str, object]) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", page.markdown(report(**changes)), re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_a_page_of_many_days_shows_the_last_ones_and_counts_the_rest() -> None:
    text = page.markdown(report(days=40))
    assert f"| {iso(20_780 + 8)} |" not in text
    assert f"| {iso(20_780 + 9)} |" in text
    assert "9 earlier days are in report.json." in text
    assert "| last 7 days |" in text


def test_names_from_outside_are_plain_text() -> None:
    text = page.markdown(report(registered_model="a_b", model="x|y<b>"))
    assert r"version 7 of a\_b (x\|y\<b\>)" in text


def test_a_page_without_events_has_no_table_of_days() -> None:
    text = page.markdown(report(days=0))
    assert "Nothing came after" in text
    assert "## By day" not in text


@pytest.mark.parametrize(
    "one",
    [
        report(days=0),
        report(days=1),
        report(days=100, promoted_value=None),
        report(former=[Former(5, [day(20_770)]), Former(6, [day(20_771), day(20_772)])]),
    ],
    ids=["no day", "one day", "many days", "former champions"],
)
def test_the_picture_shows_what_there_is(tmp_path: Path, one: Report) -> None:
    plots.series(one, tmp_path / "series.png")
    pixels = matplotlib.image.imread(tmp_path / "series.png")
    assert pixels.shape[:2] == (624 if one.series else 182, 1040)
    blue = abs(pixels[..., :3] - [0, 0x72 / 255, 0xB2 / 255]).sum(axis=2) < 0.02
    assert (blue.sum() > 100) == bool(one.series)
    assert (pixels[..., :3].sum(axis=2) < 1).sum() > 500  # words


@pytest.mark.parametrize("name", ["figures", "plots"])
def test_examples_of_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"recctl.monitoring.{name}"))
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_points_of_a_day_are_read_back() -> None:
    one = day(20_780)
    assert of_points(20_780, one.as_points(), ["ndcg@10", "hr@10"]) == one
    assert of_points(20_780, one.as_points(), ["hr@10", "ndcg@10"]) is None  # no interval of hr@10
    assert number_of(iso(20_780)) == 20_780
