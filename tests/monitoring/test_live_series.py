"""The series of days in MLflow, on a real sqlite database."""

from pathlib import Path
from typing import Any

import pytest

import databases
from recctl.layout import Layout
from recctl.tracking import batches, server
from recctl.tracking.live import live_series, log_live
from recctl.tracking.server import Tracking

TAGS = {"recctl.content_digest": "d" * 64}


@pytest.fixture
def reached(tmp_path: Path) -> Tracking:
    databases.mlflow(tmp_path)
    return server.connect(Layout(tmp_path))


def add(reached: Tracking, days: dict[int, dict[str, float]], version: int = 1, **more: Any) -> int:
    options: dict[str, Any] = {"model": "m", "tags": TAGS, **more}
    return log_live(reached, version=version, days=days, **options)


def row(events: float, value: float) -> dict[str, float]:
    return {"events": events, "hr@10": value}


def test_days_are_read_back_by_version(reached: Tracking) -> None:
    assert add(reached, {20_000: row(3, 0.5), 20_001: row(4, 0.25)}) == 2
    assert add(reached, {20_002: row(1, 0.0)}, version=2) == 1
    assert add(reached, {1: row(9, 1.0)}, model="other") == 1
    first, second = live_series(reached, "m")
    assert (first.version, first.days) == (1, {20_000: row(3, 0.5), 20_001: row(4, 0.25)})
    assert (second.version, second.days) == (2, {20_002: row(1, 0.0)})


def test_only_what_differs_is_added_and_the_last_word_counts(reached: Tracking) -> None:
    """A smaller value later, a greater one later: neither order of values decides."""
    add(reached, {1: row(3, 0.5), 2: row(3, 0.5)})
    assert add(reached, {1: row(3, 0.5), 2: row(3, 0.5)}) == 0
    assert add(reached, {1: row(4, 0.25), 2: row(4, 0.75)}) == 2
    assert add(reached, {1: row(5, 0.75), 2: row(5, 0.25)}) == 2
    [kept] = live_series(reached, "m")
    assert kept.days == {1: row(5, 0.75), 2: row(5, 0.25)}
    assert kept.corrected == {1: 2, 2: 2}


def test_a_figure_that_is_new_is_added_to_a_day_that_is_there(reached: Tracking) -> None:
    add(reached, {1: row(3, 0.5)})
    more = {**row(3, 0.5), "ndcg@10": 0.3}
    assert add(reached, {1: more}) == 1
    [kept] = live_series(reached, "m")
    assert kept.days == {1: more}
    assert add(reached, {1: row(3, 0.5)}) == 0


def test_a_point_stands_at_its_days_end(reached: Tracking) -> None:
    add(reached, {1: row(3, 0.5)})
    [kept] = live_series(reached, "m")
    [point] = reached.client.get_metric_history(kept.run_id, "hr_at_10")
    assert (point.step, point.timestamp) == (1, 2 * 86_400_000 - 1)


def test_a_version_of_the_same_number_and_other_content_has_a_separate_series(
    reached: Tracking,
) -> None:
    add(reached, {1: row(3, 0.5)})
    add(reached, {1: row(3, 1.0)}, tags={"recctl.content_digest": "e" * 64})
    assert [one.days for one in live_series(reached, "m")] == [{1: row(3, 0.5)}, {1: row(3, 1.0)}]


def test_a_year_of_days_is_sent_in_few_requests_that_part_no_day(
    reached: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[Any]] = []
    log_batch = reached.client.log_batch

    def recorded(run_id: str, metrics: Any = (), **more: Any) -> None:
        sent.append(list(metrics))
        log_batch(run_id, metrics, **more)

    monkeypatch.setattr(reached.client, "log_batch", recorded)
    year = {
        day: {**row(day, 0.5), "a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0}
        for day in range(400)
    }
    add(reached, year)
    assert [len(batch) for batch in sent] == [994, 994, 812]
    for batch in sent:
        days = [metric.step for metric in batch]
        assert all(days.count(day) == 7 for day in set(days))
    [kept] = live_series(reached, "m")
    assert kept.days == year


def test_what_a_killed_process_left_is_completed(
    reached: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the run was made, then after its first batch."""

    class Killed(BaseException):
        pass

    def die(run_id: str, metrics: Any = (), **more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(reached.client, "log_batch", die)
        with pytest.raises(Killed):
            add(reached, {1: row(3, 0.5)})
    days = {day: row(day, 0.5) for day in range(1, 5)}
    with monkeypatch.context() as patch:
        patch.setattr(batches, "BATCH_METRICS", 4)
        calls, log_batch = [], reached.client.log_batch

        def once(run_id: str, metrics: Any = (), **more: Any) -> None:
            calls.append(1)
            if len(calls) > 1:
                raise Killed
            log_batch(run_id, metrics, **more)

        patch.setattr(reached.client, "log_batch", once)
        with pytest.raises(Killed):
            add(reached, days)
    assert add(reached, days) == 2
    [kept] = live_series(reached, "m")
    assert kept.days == days
    assert reached.client.get_run(kept.run_id).info.status == "FINISHED"
