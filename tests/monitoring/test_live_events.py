"""Events and their histories, against loops over the log."""

from pathlib import Path

import monitoring_cases as cases
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recctl.errors import UserError
from recctl.monitoring import events as reading
from recctl.monitoring.events import MICROSECONDS_A_DAY, Events
from recctl.sequences.vocabulary import COLD, Vocabulary

VOCABULARY = Vocabulary(items=("c", "a", "b"), counts=(3, 2, 1))
"""The log's items d and é are unknown to the model."""
NOON = 1_700_000_000_000_000


def named(events: Events, users: list[str]) -> list[tuple[str, int, list[str], str | None]]:
    """Events by ids; None for a cold target."""
    items = VOCABULARY.items
    return [
        (
            users[events.cases.users[n]],
            int(events.times[n]),
            [items[item] for item in events.cases.histories[n]],
            None if events.cases.targets[n] == COLD else items[events.cases.targets[n]],
        )
        for n in range(len(events))
    ]


def expected(log: object, since: int) -> list[tuple[str, int, list[str], str | None]]:
    return [
        (
            event.user,
            event.time,
            [item for item in event.history if item in VOCABULARY.index],
            event.target if event.target in VOCABULARY.index else None,
        )
        for event in cases.events_by_loops(log, since)
    ]


def read(folder: Path, log: object, since: int) -> list[tuple[str, int, list[str], str | None]]:
    """The events of a log, read from parquet and named again."""
    path = folder / "interactions.parquet"
    ordered = log.assign(row=range(len(log))).sort_values(["user_id", "timestamp", "row"])
    cases.write_table(path, ordered)
    events = reading.read(path, VOCABULARY, since, folder / "state")
    users = sorted(set(log[log["timestamp"] > since]["user_id"]), key=str.encode)
    return named(events, users)


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob", "Ünal", "z"]),
        st.sampled_from(["a", "b", "c", "d", "é"]),
        st.integers(NOON - 3, NOON + 3),
    ),
    min_size=1,
    max_size=25,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, since=st.integers(NOON - 4, NOON + 4))
def test_events_are_those_of_plain_loops(tmp_path: Path, rows: list, since: int) -> None:
    """Times tie often: they keep the order of the rows."""
    log = cases.frame(*rows)
    assert read(tmp_path, log, since) == expected(log, since)


@given(rows=ROWS, since=st.integers(NOON - 4, NOON + 4))
def test_histories_are_slices_of_one_array_and_days_part_the_events(rows: list, since: int) -> None:
    log = sorted((user, time, n, item) for n, (user, item, time) in enumerate(rows))
    log = [row for row in log if any(u == row[0] and t > since for u, t, _, _ in log)]
    numbers = {user: n for n, user in enumerate(dict.fromkeys(row[0] for row in log))}
    items = np.array([VOCABULARY.index.get(row[3], COLD) for row in log], np.int32)
    events = reading.build(
        np.array([numbers[row[0]] for row in log], np.int64),
        items,
        np.array([row[1] for row in log], np.int64),
        since,
    )
    assert len(events) == sum(time > since for _, _, time in rows)
    assert len(events.cases.histories.items) == (items != COLD).sum()
    by_day = reading.by_day(events)
    places = [place for rows in by_day.values() for place in rows.tolist()]
    assert sorted(places) == list(range(len(events)))
    assert list(by_day) == sorted(by_day)


def test_what_happened_at_the_end_of_the_log_itself_is_no_event(tmp_path: Path) -> None:
    log = cases.frame(("u", "a", NOON), ("u", "b", NOON), ("u", "c", NOON + 1))
    assert read(tmp_path, log, NOON) == [("u", NOON + 1, ["a", "b"], "c")]


def test_a_late_event_is_in_the_history_and_no_event(tmp_path: Path) -> None:
    """It stands last in the log and happened before the end of it."""
    log = cases.frame(("u", "a", NOON - 9), ("u", "c", NOON + 1), ("u", "b", NOON - 5))
    assert read(tmp_path, log, NOON) == [("u", NOON + 1, ["a", "b"], "c")]


def test_a_newcomers_first_event_has_no_history(tmp_path: Path) -> None:
    log = cases.frame(("old", "a", NOON), ("new", "b", NOON + 1), ("new", "d", NOON + 2))
    assert read(tmp_path, log, NOON) == [
        ("new", NOON + 1, [], "b"),
        ("new", NOON + 2, ["b"], None),
    ]


def test_days_are_those_of_utc(tmp_path: Path) -> None:
    midnight = 20_000 * MICROSECONDS_A_DAY
    log = cases.frame(("u", "a", midnight - 1), ("u", "b", midnight), ("v", "a", midnight - 2))
    cases.write_table(
        tmp_path / "log.parquet",
        log.assign(row=range(3)).sort_values(["user_id", "timestamp", "row"]),
    )
    events = reading.read(tmp_path / "log.parquet", VOCABULARY, NOON, tmp_path)
    found = {day: events.times[rows].tolist() for day, rows in reading.by_day(events).items()}
    assert found == {19_999: [midnight - 1, midnight - 2], 20_000: [midnight]}


def test_no_event_is_no_day(tmp_path: Path) -> None:
    log = cases.frame(("u", "a", NOON))
    assert read(tmp_path, log, NOON) == []
    nothing = np.zeros(0, np.int64)
    events = reading.build(nothing, nothing.astype(np.int32), nothing, NOON)
    assert reading.by_day(events) == {}


def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "interactions.parquet"
    with pytest.raises(UserError, match="it is written by 'ingest'"):
        reading.read(path, VOCABULARY, NOON, tmp_path)
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match="is damaged"):
        reading.read(path, VOCABULARY, NOON, tmp_path)
    cases.pq.write_table(cases.pa.table({"user_id": ["u"], "item_id": ["a"]}), path)
    with pytest.raises(UserError, match="it has no column timestamp, row"):
        reading.read(path, VOCABULARY, NOON, tmp_path)
