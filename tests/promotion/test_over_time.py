"""The page of all decisions: which figures it draws, what it says, and when it is written."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny
from decision_bodies import (
    FIRST,
    PROMOTED,
    RECOVERY,
    REFUSED,
    REJECTED,
    ROLLBACK,
    row,
)
from matplotlib.figure import Figure

from recctl.layout import Layout
from recctl.promotion import history, write_pages
from recctl.promotion.view import over_time, tables
from recctl.promotion.view.over_time import Monitored

PNG = b"\x89PNG not really"
MONITORED = Monitored(
    4, datetime(2026, 3, 9, tzinfo=UTC), "Holds: ...", "ndcg@10", 0.26, 0.24, 0.28, PNG
)
ROWS = [
    row(1, FIRST),
    row(2, REJECTED),
    row(3, PROMOTED | {"time": "2026-03-02T04:05:06+00:00"}),
    row(4, PROMOTED, in_force=False),
    row(5, REFUSED),
    row(6, ROLLBACK),
]


def test_points_are_those_of_decisions_in_force_that_have_figures() -> None:
    found = [
        (point.kind, point.version, point.value) for point in over_time.points(ROWS, "ndcg@10")
    ]
    assert found == [
        ("promoted", 1, 0.2611),
        ("champion", 3, 0.248),
        ("not promoted", 4, 0.2611),
        ("champion", 3, 0.248),
        ("promoted", 4, 0.2611),
        ("rolled back", 3, 0.248),  # what it had last
    ]
    assert over_time.points(ROWS, "mrr") == []


def test_the_metric_is_the_newest_policys_first() -> None:
    assert over_time.metric_of(ROWS) == "ndcg@10"
    gates = [gate | {"name": "hr@10"} for gate in REJECTED["gates"] if gate["gate"] == "primary"]
    assert over_time.metric_of([*ROWS, row(7, REJECTED | {"gates": gates})]) == "hr@10"
    assert over_time.metric_of([]) == "ndcg@10"


def drawn(monkeypatch: pytest.MonkeyPatch, *given: Any) -> Figure:
    found: list[Figure] = []
    monkeypatch.setattr(over_time.drawing, "save", lambda figure, path: found.append(figure))
    over_time.plot(*given, Path("unused"))
    return found[0]


def test_the_plot_marks_each_kind_and_the_bounds_of_monitoring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figure = drawn(monkeypatch, ROWS, MONITORED)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    kinds = ["promoted", "rolled back", "champion", "not promoted"]
    assert labels == [*kinds, "v4 in monitoring, 95%"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["v1", "v4", "v3"]
    ends = figure.axes[0].collections[0].get_segments()[0][:, 1]  # type: ignore[attr-defined]
    assert ends.tolist() == pytest.approx([0.24, 0.28])
    other = Monitored(4, MONITORED.time, "", "mrr", 0.1, 0.0, 0.2, PNG)
    assert len(drawn(monkeypatch, ROWS[:2], other).legends[0].get_texts()) == 3


@pytest.mark.parametrize("seconds", [0, 1, 90, 4000, 90_000, 10**6, 10**7, 10**8, 10**9])
def test_any_span_of_time_is_drawn(seconds: int, tmp_path: Path) -> None:
    time = datetime.fromisoformat(FIRST["time"]) + timedelta(seconds=seconds)
    rows = [row(1, FIRST), row(2, PROMOTED | {"time": time.isoformat()})]
    over_time.plot(rows, None, tmp_path / "p.png")


@pytest.mark.parametrize("rows", [[], [row(1, REFUSED), row(3, RECOVERY)]])
def test_without_figures_the_picture_says_so(rows: list[Any], tmp_path: Path) -> None:
    over_time.plot(rows, None, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    text = over_time.html(rows, PNG, None, "recommender")
    assert "<strong>NONE SERVES</strong>no version serves yet" in text
    assert "no version was promoted" in text


def test_the_page_says_who_serves_and_links_to_every_decision() -> None:
    text = over_time.html(ROWS, PNG, MONITORED, "recommender <b>")
    assert "<strong>VERSION 3 SERVES</strong>since 2026-03-01 04:05 UTC, by decision 6: " in text
    links = re.findall(r'href="([^"]+)"', text)
    assert links == [f"{number:04d}/decision.html" for number in (6, 5, 4, 3, 2, 1)]
    assert "version 4 promoted 2026-03-02, .2611; version 3 rolled back 2026-03-01" in text
    assert "complaints about &lt;repeated&gt; lists" in text
    assert "recommender &lt;b&gt;" in text
    assert "Holds: ..." in text


def test_the_page_fetches_nothing_and_runs_nothing() -> None:
    text = over_time.html(ROWS, PNG, MONITORED, "recommender")
    sources = re.findall(r'src="([^"]+)"', text)
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "://" not in text
    assert "<script" not in text


def test_only_a_page_has_links() -> None:
    assert "decision.html" not in tables.log(ROWS).markdown(for_html=True)
    assert "decision.html" not in tables.log(ROWS, linked=True).markdown()


@pytest.fixture
def layout(tmp_path: Path, quick_decisions: None) -> Layout:
    return tiny.make(tmp_path / "project")


def monitored(layout: Layout, **changes: Any) -> None:
    """What monitoring leaves."""
    layout.monitoring.mkdir(parents=True, exist_ok=True)
    report = {
        "registered_model": "tiny",
        "version": 1,
        "metric": "ndcg@10",
        "sentence": "Holds: so it is",
        "alike": {"events": 9, "value": 0.2, "low": 0.1, "high": 0.3},
    }
    (layout.monitoring / "report.json").write_text(json.dumps(report | changes))
    (layout.monitoring / "series.png").write_bytes(PNG)


def test_each_decision_writes_the_page(layout: Layout) -> None:
    index = layout.decisions / write_pages.INDEX
    tiny.promote(layout, 1e6)
    assert "VERSION 1 SERVES" in index.read_text()
    tiny.promote(layout, 10.0)
    tiny.rollback(layout)
    text = index.read_text()
    assert "VERSION 1 SERVES" in text
    for link in re.findall(r'href="([^"]+)"', text):
        assert (layout.decisions / link).is_file()
    assert "Holds" not in text


def test_what_monitoring_found_is_shown_where_it_is_about_this_model(layout: Layout) -> None:
    tiny.promote(layout, 1e6)
    said: list[str] = []
    registry = history.open_registry(layout)
    index = layout.decisions / write_pages.INDEX
    for changes, there in (({}, True), ({"registered_model": "other"}, False)):
        monitored(layout, **changes)
        os.utime(layout.monitoring / "report.json", (1.8e9, 1.8e9))
        write_pages.overview(layout, registry, said.append)
        assert ("Holds: so it is" in index.read_text()) == there
    assert said == []


def test_a_page_that_cannot_be_written_is_said(layout: Layout) -> None:
    tiny.promote(layout, 1e6)
    said: list[str] = []
    monitored(layout)
    (layout.monitoring / "report.json").write_text("{")
    write_pages.overview(layout, history.open_registry(layout), said.append)
    assert len(said) == 1
    assert "index.html could not be written" in said[0]
