"""What was shown, by pseudonym; a log that cannot keep up drops and counts."""

import errno
import os
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from recctl import journal
from recctl.promotion.trial import pseudonyms
from recctl.serve import app as endpoints
from recctl.serve import exposures, writer
from recctl.serve.champion import Champion


def serving(champion: Champion, share: float) -> TestClient:
    return TestClient(endpoints.build(champion, exposures=share), "http://localhost")


def kept(champion: Champion) -> Iterator[dict[str, Any]]:
    for path in journal.exposures(champion.layout).files():
        yield from pq.read_table(path).to_pylist()


def test_each_list_is_a_row_that_names_the_user_by_pseudonym(alone: Champion) -> None:
    with serving(alone, 1.0) as client:
        answers = [
            client.post("/recommend", json=body).json()
            for body in ({"user": "ann@example.com", "k": 3}, {"history": ["i3"]}, {"k": 0})
        ]
    rows = list(kept(alone))
    assert [row["request"] for row in rows] == [one["request"] for one in answers[:2]]
    for row, answer in zip(rows, answers, strict=False):
        assert row["items"] == [one["item"] for one in answer["recommendations"]]
        assert (row["version"], row["decision"]) == (3, 5)
        assert row["time"].year >= 2026
    key = (alone.layout.state / pseudonyms.KEY).read_bytes()
    assert [row["user"] for row in rows] == [pseudonyms.of(key, ["ann@example.com"])[0], None]
    [path] = journal.exposures(alone.layout).files()
    assert b"ann@" not in path.read_bytes()


def test_a_share_of_the_requests_and_none_by_default(alone: Champion) -> None:
    for share, least, most in ((0.0, 0, 0), (0.5, 5, 35)):
        with serving(alone, share) as client:
            for _ in range(40):
                client.post("/recommend", json={})
        assert least <= len(list(kept(alone))) <= most
    assert not list(alone.layout.state.glob("served/*.jsonl"))


def test_what_cannot_be_kept_is_counted_and_answers_go_on(
    alone: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(exposures, "WAITING", 10)
    monkeypatch.setattr(writer, "TICK", 0.01)
    with serving(alone, 1.0) as client, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert client.post("/recommend", json={"k": 11}).status_code == 200
        assert 'recctl_exposures_total{what="dropped"} 1.0' in client.get("/metrics").text
        assert client.post("/recommend", json={"k": 10}).status_code == 200
        for _ in range(500):
            if client.get("/readyz").json()["problem"]:
                break
        problem = "exposures cannot be written: No space left on device"
        assert client.get("/readyz").json()["problem"] == problem
        assert 'recctl_exposures_total{what="dropped"} 2.0' in client.get("/metrics").text
    assert list(kept(alone)) == []
