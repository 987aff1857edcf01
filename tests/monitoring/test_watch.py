"""The champion watched in a tiny project with a real registry, against plain loops."""

import dataclasses
import json
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import monitoring_cases as cases
import numpy as np
import pandas as pd
import pytest
import tiny_project as tiny
from monitoring_cases import day_of

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.monitoring import watch as module
from recctl.monitoring.report import Report
from recctl.monitoring.watch import PLOT, REPORT, NoChampion, watch
from recctl.promotion import history
from recctl.promotion.rollback import rollback
from recctl.promotion.trial import contenders
from recctl.promotion.trial.training_record import TrainingRecord
from recctl.tracking import live, server

pytestmark = pytest.mark.usefixtures("quick_decisions")

DAYS = 12
"""Days that the first champion is trained on."""


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = tiny.make(tmp_path_factory.mktemp("promoted") / "project")
    tiny.set_params(layout.root, monitor={"window_days": 3, "minimum_events": 100})
    cases.promoted(layout)
    return layout


@pytest.fixture
def project(tmp_path: Path, promoted: Layout) -> Layout:
    """A copy of a project whose Markov chain serves; no interactions.parquet yet."""
    shutil.copytree(promoted.root, tmp_path / "project")
    return Layout(tmp_path / "project")


def look(layout: Layout, log: pd.DataFrame | None = None) -> Report:
    if log is not None:
        cases.write(layout, log)
    return watch(layout, lambda line: None)


def end_of(log: pd.DataFrame) -> int:
    return int(log["timestamp"].max())


def eventful() -> pd.DataFrame:
    """Few users for some days on, an unknown item, newcomers, a late event, events at one time."""
    whole = tiny.log(days=DAYS)
    end = end_of(whole)
    later = tiny.log(days=DAYS + 3)
    later = later[(later["timestamp"] > end) & (later["user_id"] < "u015")]
    more = cases.frame(
        ("u001", "unheard-of", end + 10),
        ("u001", "i7", end + 11),
        ("u002", "i9", end),
        ("late", "i3", end - 5),
        ("new", "i0", end + tiny.DAY),
        ("new", "i1", end + tiny.DAY),
        ("new", "i1", end + tiny.DAY + 1),
        ("odd", "unheard-of", end + 2 * tiny.DAY),
        ("odd", "i2", end + 2 * tiny.DAY + 1),
    )
    return pd.concat([whole, later, more], ignore_index=True)


@pytest.mark.parametrize(("kind", "filter_seen"), [("markov", True), ("popularity", False)])
def test_figures_are_those_of_plain_loops(tmp_path: Path, kind: str, filter_seen: bool) -> None:
    """Popularity scores tie; with the filter off an item may be taken again."""
    layout = tiny.make(tmp_path / "project")
    tiny.set_params(layout.root, evaluate={"negatives": 5, "filter_seen": filter_seen})
    cases.promoted(layout, kind)
    log = eventful()
    report = look(layout, log)
    served = contenders.registered(history.open_registry(layout), layout, 1, []).served
    index = served.vocabulary.index
    events = cases.events_by_loops(log, end_of(tiny.log(days=DAYS)))
    days = sorted({day_of(event.time) for event in events})
    assert len(days) > 3
    assert [day.day for day in report.series] == days
    for day, mine in [
        *((day, [e for e in events if day_of(e.time) == day.day]) for day in report.series),
        (report.window, events),
    ]:
        ranks = [cases.rank_by_loops(served, event, filter_seen) for event in mine]
        expected = cases.figures_by_loops(ranks, served.vocabulary.size)
        assert day.values == pytest.approx(expected)
        again = [event.target in event.history and event.target in index for event in mine]
        assert (day.events, day.users, day.cold, day.seen, day.newcomers) == (
            len(mine),
            len({event.user for event in mine}),
            sum(event.target not in index for event in mine),
            sum(again) if filter_seen else 0,
            sum(not any(item in index for item in event.history) for event in mine),
        )
        assert day.low <= day.values["ndcg@10"] <= day.high
    fewest = report.alike.fewest
    usual = [event for event in events if sum(i in index for i in event.history) >= fewest]
    by_user: dict[str, list[float]] = {}
    for event in usual:
        rank = cases.rank_by_loops(served, event, filter_seen)
        gain = cases.figures_by_loops([rank], served.vocabulary.size)["ndcg@10"]
        by_user.setdefault(event.user, []).append(gain)
    each = [sum(gains) / len(gains) for gains in by_user.values()]
    assert (report.alike.events, report.alike.users) == (len(usual), len(each))
    assert 0 < len(usual) < len(events)
    assert report.alike.value == pytest.approx(sum(each) / len(each))
    assert report.window.cold == 2
    assert report.window.newcomers == 3  # the first of `new` and both of `odd`
    assert "late" not in {event.user for event in events}


def test_nothing_after_its_training(project: Layout) -> None:
    report = look(project, tiny.log(days=DAYS))
    assert (report.verdict, report.series, report.window) == (
        "nothing after its training",
        [],
        None,
    )
    assert report.sentence.startswith(
        "Nothing came after the training of version 1, whose log ends"
    )
    end = datetime.fromisoformat(report.log_end).timestamp()
    assert end == end_of(tiny.log(days=DAYS)) // 10**6


def test_the_promotions_figure_is_that_of_the_decision(project: Layout) -> None:
    body = history.decisions(history.open_registry(project))[-1].body
    report = look(project, tiny.log(days=DAYS + 2))
    assert report.promoted_value == body.means.full["challenger"]["ndcg@10"] > 0.1
    assert (report.metric, report.margin, report.version) == ("ndcg@10", 0.01, 1)
    assert report.model == "markov"


def test_too_few_events_conclude_nothing(project: Layout) -> None:
    tiny.set_params(project.root, monitor={"window_days": 3, "minimum_events": 100_000})
    report = look(project, tiny.log(days=DAYS + 2))
    assert report.verdict == "too few events"
    assert "and 100,000 of 30 users are needed" in report.sentence


def test_it_holds_while_people_stay_as_they_were(project: Layout) -> None:
    """With the margin of one figure to the other, which is of other users and days."""
    tiny.set_params(project.root, promotion={**tiny.POLICY, "primary": {"margin": 0.1}})
    report = look(project, tiny.log(days=DAYS + 3))
    assert report.verdict == "holds"


def test_it_has_fallen_when_they_do_something_else(project: Layout) -> None:
    tiny.set_params(project.root, promotion={**tiny.POLICY, "primary": {"margin": 0.1}})
    whole = tiny.log(days=DAYS)
    rng = np.random.default_rng(0)
    strange = tiny.log(days=3).assign(item_id=[f"i{n}" for n in rng.integers(40, 80, 1200)])
    strange["timestamp"] += DAYS * tiny.DAY + tiny.DAY
    report = look(project, pd.concat([whole, strange], ignore_index=True))
    assert report.verdict == "fallen"
    assert report.window.high < report.promoted_value - 0.1
    assert report.sentence.startswith("Fallen: NDCG@10 of version 1 is .")


def test_the_window_is_the_last_days_that_have_events(project: Layout) -> None:
    """Three days of five, with a week without any event between them."""
    end = end_of(tiny.log(days=DAYS))
    later = [
        (f"u{n:03d}", "i3", end + day * tiny.DAY + n) for day in (1, 2, 9, 10) for n in range(5)
    ]
    log = pd.concat([tiny.log(days=DAYS), cases.frame(*later)], ignore_index=True)
    report = look(project, log)
    assert [day.events for day in report.series] == [5, 5, 5, 5]
    window = report.window
    assert (window.day, window.last, window.events) == (
        report.series[1].day,
        report.series[3].day,
        15,
    )


def test_a_day_that_goes_on_is_shown_and_not_judged(project: Layout) -> None:
    """Else each look of that day would be one more."""
    now = time.time_ns() // 1000
    rows = [(f"u{n:03d}", "i3", now - ago * tiny.DAY) for ago in (0, 2) for n in range(5)]
    log = pd.concat([tiny.log(days=DAYS), cases.frame(*rows)], ignore_index=True)
    report = look(project, log)
    assert [day.events for day in report.series] == [5, 5]
    assert (report.window.events, report.window.last) == (5, report.series[0].day)


def runs(layout: Layout) -> list[Any]:
    reached = server.connect(layout)
    found = reached.client.search_runs([reached.experiment_id], "tags.`recctl.run` = 'monitor'")
    return sorted(found, key=lambda run: run.info.run_name)


def metric_history(layout: Layout, key: str, run: int = 0) -> list[tuple[int, float]]:
    client = server.connect(layout).client
    found = client.get_metric_history(runs(layout)[run].info.run_id, key)
    return cases.points(found)


def test_watching_twice_leaves_no_second_points(project: Layout) -> None:
    first = look(project, tiny.log(days=DAYS + 5))
    kept = {key: metric_history(project, key) for key in runs(project)[0].data.metrics}
    assert {"events", "cold", "seen", "ndcg_at_10", "hr_at_10", "ndcg_at_10/low"} <= kept.keys()
    assert [value for _, value in kept["events"]] == [day.events for day in first.series]
    second = look(project)
    assert second == first
    assert {key: metric_history(project, key) for key in kept} == kept
    [run] = runs(project)
    assert (run.info.run_name, run.info.status) == ("live-tiny-v1", "FINISHED")
    assert run.data.tags["recctl.registered_model"] == "tiny"
    assert run.data.tags["recctl.model_version"] == "1"


def test_a_day_that_grew_is_logged_again_and_the_later_point_counts(project: Layout) -> None:
    log = tiny.log(days=DAYS + 5)
    before = look(project, log)
    end = end_of(tiny.log(days=DAYS))
    late = cases.frame(("late", "i3", end + 1), ("late", "i4", end + 2))
    after = look(project, pd.concat([log, late], ignore_index=True))
    assert after.series[0].events == before.series[0].events + 2
    assert after.series[1:] == before.series[1:]
    assert len(metric_history(project, "ndcg_at_10")) == len(before.series) + 1
    registry = history.open_registry(project)
    [kept] = live.live_series(registry.tracking, "tiny")
    assert [row["events"] for row in kept.days.values()] == [day.events for day in after.series]
    assert [row["ndcg@10"] for row in kept.days.values()] == [
        day.values["ndcg@10"] for day in after.series
    ]
    assert look(project) == after


def test_days_before_the_window_are_not_scored_again(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = look(project, tiny.log(days=DAYS + 5))
    scored = []
    rank_cases = module.rank_cases

    def counting(model: Any, cases: Any, **more: Any) -> Any:
        scored.append(len(cases))
        return rank_cases(model, cases, **more)

    monkeypatch.setattr(module, "rank_cases", counting)
    assert look(project) == first
    assert scored == [sum(day.events for day in first.series[-3:])]
    tiny.set_params(project.root, evaluate={"negatives": 5, "filter_seen": False})
    other = look(project)  # another measure: nothing kept is of use
    assert scored[1:] == [sum(day.events for day in first.series)]
    assert other.series != first.series
    assert len(runs(project)) == 2


def test_a_former_champions_series_stays(project: Layout) -> None:
    log = tiny.log(days=DAYS + 3)
    first = look(project, log)
    tiny.take_in(project, log)
    cases.promoted(project)
    log = tiny.log(days=DAYS + 6)
    second = look(project, log)
    assert (second.version, [one.version for one in second.former]) == (2, [1])
    assert second.former[0].series == first.series
    assert second.series[0].day >= first.series[-1].day
    rollback(project, reason="test", to=None, confirm=lambda body: True, say=lambda line: None)
    third = look(project)
    assert (third.version, third.promoted_value) == (1, first.promoted_value)
    assert third.former == [dataclasses.replace(second.former[0], version=2, series=second.series)]
    assert third.series[1:3] == first.series[1:3]
    assert len(third.series) > len(first.series)


def test_the_report_and_its_picture_are_written_whole(project: Layout) -> None:
    report = look(project, tiny.log(days=DAYS + 2))
    written = json.loads((project.monitoring / REPORT).read_text())
    assert written == json.loads(json.dumps(report.as_dict()))
    assert (written["verdict"], written["version"]) == (report.verdict, 1)
    assert (project.monitoring / PLOT).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in project.monitoring.iterdir()) == [REPORT, PLOT]


def test_without_a_champion_there_is_none_to_watch(tmp_path: Path) -> None:
    layout = tiny.make(tmp_path / "project")
    with pytest.raises(NoChampion, match="no champion of 'tiny' serves"):
        look(layout, tiny.log())


def test_without_interactions_ingest_is_named(project: Layout) -> None:
    with pytest.raises(UserError, match="it is written by 'ingest'"):
        look(project)
    assert runs(project) == []


def test_a_log_without_times_is_refused(project: Layout) -> None:
    tiny.set_params(
        project.root, ingest={"name": "tiny", "files": ["log.txt"], "format": "sequences"}
    )
    with pytest.raises(UserError, match="the log has no times"):
        look(project, tiny.log(days=DAYS + 2))


def test_a_champion_trained_on_a_log_without_times_is_refused(tmp_path: Path) -> None:
    layout = tiny.make(tmp_path / "project")
    rows = tiny.log().sort_values("timestamp", ignore_index=True)
    tiny.take_in(layout, rows.assign(timestamp=range(len(rows))))
    cases.promoted(layout)
    with pytest.raises(UserError, match="the log that version 1 was trained on has no times"):
        look(layout, tiny.log(days=DAYS + 2))


def test_a_decision_without_the_metric_compares_nothing(project: Layout) -> None:
    policy = {**tiny.POLICY, "primary": {"metrics": ["mrr"], "margin": 0.01}}
    tiny.set_params(project.root, promotion=policy)
    report = look(project, tiny.log(days=DAYS + 2))
    assert (report.promoted_value, report.verdict) == (None, "no promotion figure")
    assert "has no MRR to compare with" in report.sentence


def test_the_end_of_the_log_is_that_of_all_its_interactions(tmp_path: Path) -> None:
    """Validation and test targets included; an older record has the training part alone."""
    layout = tiny.make(tmp_path / "project")
    data = tiny.take_in(layout, tiny.log())
    record = TrainingRecord.of(data, {})
    assert record.log_end == record.about["log_end"] == end_of(tiny.log())
    record.save(tmp_path)
    assert TrainingRecord.load(tmp_path).log_end == record.log_end
    older = dataclasses.replace(
        record, about={key: value for key, value in record.about.items() if key != "log_end"}
    )
    assert older.log_end == max(
        int(data.times[end - 1]) for end in data.train_end.tolist()
    ) < record.log_end  # fmt: skip
