"""Events that are posted: kept before they are confirmed, part of histories, refused as a whole."""

import errno
import json
import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_project as tiny
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from recctl import journal
from recctl.data import engine, formats, interactions, values
from recctl.data.params import IngestParams
from recctl.layout import Layout
from recctl.recommend import Served, user_histories
from recctl.serve import app as endpoints
from recctl.serve import posted, writer
from recctl.serve.champion import Champion

HERE = "http://localhost"
NOW = datetime.now(UTC)


def serving(champion: Champion) -> TestClient:
    return TestClient(endpoints.build(champion), HERE, raise_server_exceptions=False)


def post(client: TestClient, body: Any) -> tuple[int, Any]:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = client.post("/events", content=content, headers={"content-type": "application/json"})
    return answer.status_code, answer.json()


def listed(client: TestClient, user: str) -> tuple[bool, list[str], list[str]]:
    """Whether a user is a newcomer, unknown items, and the list."""
    content = client.post("/recommend", json={"user": user}).json()
    return (
        content["newcomer"],
        content["unknown"],
        [one["item"] for one in content["recommendations"]],
    )


def kept(layout: Layout) -> list[tuple[Any, ...]]:
    """What the whole files hold, in order."""
    rows: list[tuple[Any, ...]] = []
    for path in journal.events(layout).files():
        columns = pq.read_table(path).to_pydict()
        assert list(columns) == ["user", "item", "time", "weight", "request"]
        rows += zip(*columns.values(), strict=True)
    return rows


def test_what_was_confirmed_is_in_a_whole_file_after_the_end(
    alone: Champion, capsys: pytest.CaptureFixture[str]
) -> None:
    """One with all fields, two without, ids of any text."""
    time = "2026-11-29T11:00:00.123456+01:00"
    one = {"user": "42", "item": 7, "time": time, "request": "abc"}
    odd = [{"user": "<b>\n\x01", "item": "ä 7"}, {"user": 42, "item": "007", "time": "2026-11-29"}]
    with serving(alone) as client:
        assert post(client, one) == (202, {"taken": 1})
        assert post(client, odd) == (202, {"taken": 2})
        assert "recctl_events_total 3.0" in client.get("/metrics").text
    assert capsys.readouterr().out.count("no intake takes them: add") == 1
    rows = kept(alone.layout)
    exact = datetime(2026, 11, 29, 10, 0, 0, 123456, UTC)
    assert rows[0] == ("42", "7", exact, None, "abc")
    assert rows[1][:2] == ("<b>\n\x01", "ä 7")
    assert abs(rows[1][2] - datetime.now(UTC)) < timedelta(minutes=5)
    assert rows[2] == ("42", "007", datetime(2026, 11, 29, tzinfo=UTC), None, None)


def test_lists_follow_events_before_and_after_a_restart(alone: Champion) -> None:
    layout, user = alone.layout, str(tiny.log()["user_id"][0])
    model = Served.load(layout.model)
    history = user_histories(layout.sequences, [user])[user]
    last = datetime.fromtimestamp(history.times[-1] / 1e6, UTC)
    body = [
        {"user": user, "item": "i50", "time": (last + timedelta(days=2)).isoformat()},
        {"user": user, "item": "i20", "time": (last + timedelta(days=1)).isoformat()},
        {"user": user, "item": history.item_ids[-1], "time": last.isoformat()},  # in the split
        {"user": "new", "item": "i3"},
        {"user": "new", "item": "no such item"},
    ]
    known = model.recommend([*history.item_ids, "i20", "i50"], 10, filter_seen=True)
    new = model.recommend(["i3"], 10, filter_seen=True)
    for attempt in range(3):
        with serving(alone) as client:
            if attempt == 0:
                assert listed(client, "new")[0]
            if attempt < 2:  # the second time a client's repeat
                assert post(client, body)[0] == 202
            assert listed(client, user)[2] == [one.item_id for one in known]
            newcomer, unknown, items = listed(client, "new")
            assert (newcomer, items) == (False, [one.item_id for one in new])
            assert set(unknown) == {"no such item"}


def test_the_newest_events_are_read_where_not_all_fit(
    alone: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = journal.events(alone.layout)
    for user in ("old", "new"):
        kept.append([[(user, "i3", 1_790_000_000_000_000, None, None)]])
        kept.finish()
    monkeypatch.setattr(posted, "ALL", 1)
    with serving(alone) as client:
        assert (listed(client, "old")[0], listed(client, "new")[0]) == (True, False)


def test_a_forgotten_user_leaves_the_memory(
    alone: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "TICK", 0.01)
    with serving(alone) as client:
        post(client, [{"user": "new", "item": "i3"}, {"user": "other", "item": "i4"}])
        [log] = alone.layout.served.glob("events-*.jsonl")
        log.write_text(log.read_text().replace('"new"', '"someone"'))
        journal.mark(alone.layout).touch()
        for _ in range(500):
            if listed(client, "new")[0]:
                break
        assert listed(client, "new")[0]
        assert not listed(client, "other")[0]


SHAPE = {"user": "1", "item": "2"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{nope", "the body: send a JSON object"),
        ("", "the body: send a JSON object"),
        ("7", "event: input should be a valid dictionary"),
        ("[" * 100_000, "there was an error parsing the body"),
        ([], "events: list should have at least 1 item"),
        ([SHAPE] * 1001, "events: list should have at most 1000 items"),
        ([SHAPE, [SHAPE]], "events.1: input should be a valid dictionary"),
        ({"user": "1"}, "event.item: field required"),
        ({**SHAPE, "user": None}, "event.user: input should be a valid string"),
        ({**SHAPE, "user": ""}, "event.user: string should have at least 1 character"),
        ({**SHAPE, "user": " \t"}, "event.user: is empty, or a word for a missing value"),
        ({**SHAPE, "item": "NaN"}, "event.item: is empty, or a word for a missing value"),
        ('{"user": "1", "item": NaN}', "event.item: input should be a valid string"),
        ({**SHAPE, "item": 7.5}, "event.item: input should be a valid string"),
        ({**SHAPE, "item": "7.0"}, "event.item: is a number with a point or an exponent"),
        ({**SHAPE, "item": "a\0b"}, "event.item: is a number with a point or an exponent, or hold"),
        ('{"user": "\\ud800", "item": "1"}', "event.user: is no text in UTF-8"),
        ({**SHAPE, "items": "3"}, "event.items: extra inputs are not permitted"),
        ({**SHAPE, "time": "yesterday"}, "event.time: is no ISO 8601 time such as"),
        ({**SHAPE, "time": 1_700_000_000}, "event.time: is no ISO 8601 time such as"),
        ({**SHAPE, "time": "0001-01-01T00:00+14:00"}, "event.time: is no ISO 8601 time such as"),
        ({**SHAPE, "time": "1970-01-02T00:00:00Z"}, "event.time: is before 1971-01-01"),
        (
            [SHAPE, {**SHAPE, "time": f"{NOW + timedelta(hours=25):%Y-%m-%dT%H:%M:%S}"}],
            "events.1.time: is more than 24 hours in the future",
        ),
        ({**SHAPE, "weight": 1}, "event.weight: the log has no weights"),
        ('{"user": "1", "item": "2", "weight": NaN}', "event.weight: input should be a finite"),
    ],
)
def test_a_bad_body_is_one_sentence_and_nothing_of_it_is_kept(
    alone: Champion, body: Any, error: str
) -> None:
    with serving(alone) as client:
        status, content = post(client, body)
    assert status in {400, 422}
    assert list(content) == ["error"]
    assert content["error"].startswith(error)
    assert "\n" not in content["error"]
    assert kept(alone.layout) == []


def test_a_page_of_another_site_cannot_post(alone: Champion) -> None:
    """A browser sends JSON as such only after it has asked."""
    with serving(alone) as client:
        for kind in ({}, {"content-type": "text/plain"}):
            answer = client.post("/events", content=json.dumps(SHAPE), headers=kind)
            assert answer.status_code == 422
        assert client.options("/events").status_code == 405


def test_weights_are_those_of_the_log(alone: Champion) -> None:
    layout = alone.layout
    former = layout.params.read_text()
    ingest = {**tiny.INGEST, "weight_column": "rating", "minimum_weight": 3.0}
    tiny.set_params(layout.root, ingest=ingest, validate={"weight": {"minimum": 1, "maximum": 5}})
    try:
        with serving(alone) as client:
            for weight, wrong in (
                (None, "is missing"),
                *((n, "is not between 1 and 5") for n in (0.5, 6)),
            ):
                error = f"event.weight: {wrong}"
                assert post(client, {**SHAPE, "weight": weight}) == (422, {"error": error})
            low = {"user": "low", "item": "i3", "weight": 2}
            assert post(client, [low, {**low, "user": "high", "weight": 3}])[0] == 202
            assert listed(client, "low")[0]  # ingest leaves it out as well
            assert not listed(client, "high")[0]
        table = pq.read_table(journal.events(layout).files()[0])
    finally:
        layout.params.write_text(former)
    assert table.column_names == ["user", "item", "time", "rating", "request"]
    assert table["rating"].to_pylist() == [2.0, 3.0]


def test_ids_are_accepted_that_ingest_keeps_as_they_are(tmp_path: Path) -> None:
    given = ["7", "007", "7.0", "-7.0", "7.5", "1e+3", "1E+30", "1.5e+20", "4.87E+18", "+", "a.0"]
    given += [
        "7.0\n",
        "\u00a0",
        "\u2003",
        "x" * 1000,
        "<script>",
        " 7",
        "9007199254740993.0",
        "None ",
    ]
    given += [*values.MISSING, "nUll", " ", "\t\n", "\x01", "\x1c", "\x7f", "\0", "a\0"]
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": given, "item": given, "time": range(len(given))}), path)
    params = IngestParams(**{**tiny.INGEST, "files": [path.name], "format": "parquet"})
    with engine.duckdb(tmp_path) as connection:
        staged = formats.stage(connection, params, tmp_path, tmp_path)
        read = interactions.classified(staged.table, params, staged.clock).order_by("row")
        found = read.select("user_id", "cause").to_pyarrow().to_pylist()
    for text, row in zip(given, found, strict=True):
        kept = row["cause"] is None and row["user_id"] == text
        assert (values.wrong_id(text) is None) == kept, text


def test_a_full_disk_and_a_full_queue(alone: Champion, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(posted, "WAITING", 1)
    with serving(alone) as client:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            answer = client.post("/events", json={**SHAPE, "item": "i3"})
            error = "events cannot be written: No space left on device"
            assert (answer.status_code, answer.json()) == (503, {"error": error})
            assert answer.headers["retry-after"] == "1"
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["problem"]) == (200, error)
            assert listed(client, "1")[0]
        assert post(client, {**SHAPE, "item": "i4"})[0] == 202
        assert client.get("/readyz").json()["problem"] is None
        assert post(client, [SHAPE] * 2) == (503, {"error": "too many requests wait: try again"})
    assert [row[1] for row in kept(alone.layout)] == ["i4"]


def test_a_log_without_times_takes_no_events(tmp_path: Path) -> None:
    tiny.set_params(tmp_path, ingest={"name": "t", "files": ["a"], "format": "sequences"})
    one = posted.Posted(Layout(tmp_path), CollectorRegistry(), print)
    with pytest.raises(ValueError, match="a log of format 'sequences' has no times"):
        list(one._checked(posted.Event(user="1", item="2")))


@given(st.lists(st.sampled_from(["append", "cut", "finish", "take", "read"]), max_size=12))
def test_news_of_other_processes_leave_nothing_out(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        layout = Layout(Path(name))
        tiny.set_params(layout.root)
        log, written, read = journal.events(layout), set[str](), set[str]()
        log.append([[("u", "before", 1, None, None)]])
        log.finish()
        news = journal.News(log)
        for at, step in enumerate([*steps, "read"]):
            if step == "append":
                log.append([[("u", f"i{at}", at, None, None)]])
                written.add(f"i{at}")
            elif step == "cut":  # a process was killed while it wrote; the next one ends the line
                for path in log.folder.parent.glob("*.jsonl"):
                    path.write_bytes(path.read_bytes() + b'[["u", "cut')
            elif step == "finish":
                log.finish()
            elif step == "take" and not written - read:
                for path in log.folder.glob("*.parquet"):
                    (log.folder / "taken").mkdir(exist_ok=True)
                    path.rename(log.folder / "taken" / path.name)
            else:
                read |= {item for _, item, *_ in news.rows()}
        assert read - {"before"} == written
        assert "before" not in read
