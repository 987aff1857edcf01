"""The endpoints: lists as offline ranking gives them, and one sentence for every bad request."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny
from fastapi.testclient import TestClient

from recctl.layout import Layout
from recctl.recommend import Rules, Served, user_histories
from recctl.serve import app as endpoints
from recctl.serve import door
from recctl.serve.batches import Batches, Overloaded
from recctl.serve.champion import Champion

HERE = "http://localhost"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """One whose first version serves."""
    layout = tiny.make(tmp_path_factory.mktemp("serve") / "project")
    tiny.promote(layout, 10.0)
    return layout


@pytest.fixture(scope="module")
def champion(project: Layout) -> Champion:
    found = Champion(project, print)
    found.renew()
    return found


@pytest.fixture
def client(champion: Champion) -> Iterator[TestClient]:
    with TestClient(endpoints.build(champion), HERE, raise_server_exceptions=False) as reached:
        yield reached


def post(client: TestClient, body: Any, **given: Any) -> tuple[int, Any]:
    """Status and content."""
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
    given.setdefault("headers", {"content-type": "application/json"})
    answer = client.post("/recommend", content=body, **given)
    return answer.status_code, answer.json()


def listed(content: Any) -> list[tuple[int, str, float]]:
    return [(one["rank"], one["item"], one["score"]) for one in content["recommendations"]]


def test_a_history_gets_the_list_of_offline_ranking(project: Layout, client: TestClient) -> None:
    model = Served.load(project.model)
    history = list(model.vocabulary.items[5:9])
    status, content = post(client, {"history": [*history, "<b>new</b>"], "k": 7})
    expected = model.recommend(history, 7, filter_seen=True)
    assert status == 200
    assert listed(content) == [(one.rank, one.item_id, one.score) for one in expected]
    assert (content["version"], content["decision"], content["newcomer"]) == (1, 1, False)
    assert content["unknown"] == ["<b>new</b>"]

    rules = {"exclude": [expected[0].item_id, "no such item"], "k": 3}
    content = post(client, {"history": history, **rules})[1]
    assert [one[1] for one in listed(content)] == [one.item_id for one in expected[1:4]]

    among = [expected[4].item_id, history[0], "no such item"]
    content = post(client, {"history": history, "among": among})[1]
    assert [one[1] for one in listed(content)] == among[:1]
    content = post(client, {"history": history, "among": among, "filter_seen": False})[1]
    assert {one[1] for one in listed(content)} == set(among[:2])


def test_diversity_is_a_rule_of_a_list(project: Layout, client: TestClient) -> None:
    model = Served.load(project.model)
    history = list(model.vocabulary.items[5:9])
    [expected] = model.answer([(history, Rules(5, True, diversity=0.6))])
    content = post(client, {"history": history, "k": 5, "diversity": 0.6})[1]
    assert [one[1] for one in listed(content)] == [one.item_id for one in expected]
    assert expected != model.recommend(history, 5, filter_seen=True)


def test_a_user_is_answered_by_the_newest_history(project: Layout, client: TestClient) -> None:
    model = Served.load(project.model)
    users = list(tiny.log()["user_id"].astype(str).unique()[:2])
    for user in users:
        history = user_histories(project.sequences, [user])[user].item_ids
        content = post(client, {"user": user})[1]
        expected = model.recommend(history, 10, filter_seen=True)
        assert [one[1] for one in listed(content)] == [one.item_id for one in expected]
    content = post(client, {"user": "nobody"})[1]
    assert content["newcomer"]
    assert listed(content) == listed(post(client, {})[1])


def test_the_whole_catalogue_and_whole_numbers(client: TestClient) -> None:
    status, content = post(client, {"history": [1, "i2"], "k": 10_000})
    assert status == 200
    assert content["unknown"] == ["1"]
    assert len(listed(content)) == tiny.ITEMS - 1


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{nope", "the body: send a JSON object with 'content-type: application/json'"),
        ("[]", "the body: send a JSON object with 'content-type: application/json'"),
        ("", "the body: send a JSON object with 'content-type: application/json'"),
        ("[" * 100_000, "the body: send a JSON object"),
        ({"k": 0}, "k: input should be greater than or equal to 1"),
        ({"k": 10_001}, "k: input should be less than or equal to 10000"),
        ('{"k": NaN}', "k: input should be a valid integer"),
        ({"k": 2.5}, "k: input should be a valid integer"),
        ({"k": True}, "k: input should be a valid integer"),
        ({"user": ""}, "user: string should have at least 1 character"),
        ({"user": "x" * 1001}, "user: string should have at most 1000 characters"),
        ('{"user": "\\ud800"}', "the body: send a JSON object"),
        ({"history": "1,2"}, "history: input should be a valid array"),
        ({"history": [["1"]]}, "history.0: input should be a valid string"),
        ({"history": [None]}, "history.0: input should be a valid string"),
        (
            {"history": ["1"] * 10_001},
            "history: list should have at most 10000 items after validation",
        ),
        ({"diversity": -0.1}, "diversity: input should be greater than or equal to 0"),
        ('{"diversity": NaN}', "diversity: input should be"),
        ({"diversity": 1, "k": 101}, "'diversity' is for lists of at most 100; send a lower 'k'"),
        ({"users": "1"}, "users: extra inputs are not permitted"),
        (
            {"user": "1", "history": []},
            "'user' and 'history' are both given; send one of them",
        ),
    ],
)
def test_a_bad_body_is_one_sentence(client: TestClient, body: Any, error: str) -> None:
    status, content = post(client, body)
    assert status in {400, 422}
    assert list(content) == ["error"]
    assert content["error"].startswith(error)
    assert "\n" not in content["error"]
    assert post(client, {})[0] == 200


def test_other_paths_and_types(client: TestClient) -> None:
    assert post(client, "k=3", headers={"content-type": "text/plain"})[0] == 422
    assert client.get("/recommend").json() == {"error": "method not allowed"}
    missing = client.get("/<script>")
    assert (missing.status_code, missing.json()) == (404, {"error": "not found"})
    assert client.get("/readyz", headers={"host": "a.page.example"}).status_code == 400


def test_a_body_too_large_and_one_that_does_not_come(
    client: TestClient, champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, content = post(client, b"[" * (door.BODY + 1))
    assert (status, content) == (413, {"error": "the body has more than 1,048,576 bytes"})
    monkeypatch.setattr(door, "SECONDS", 0.05)
    sent: list[Any] = []

    async def slow() -> None:
        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b""}
        headers = [(b"host", b"localhost")]
        await endpoints.build(champion)({**scope, "headers": headers}, receive, send)

    asyncio.run(slow())
    assert sent[0]["status"] == 408


def test_a_token_is_asked_for_where_there_is_one(champion: Champion) -> None:
    with TestClient(endpoints.build(champion, token="s3cret"), "http://shop.example") as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        for path in ("/", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 401
        for given in ({}, {"authorization": "Bearer s3cre"}, {"authorization": b"Basic \xe9"}):
            refused = client.post("/recommend", json={}, headers=given)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        right = {"authorization": "Bearer s3cret"}
        assert client.post("/recommend", json={}, headers=right).status_code == 200


def test_what_goes_wrong_inside_is_no_traceback(
    client: TestClient, champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*given: Any) -> None:
        raise RuntimeError("secret inside")

    async def too_many(*given: Any) -> None:
        raise Overloaded

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "answer", fails)
        status, content = post(client, {})
    assert status == 500
    assert content["error"].startswith("the service failed; its log names request ")
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "answer", too_many)
        answer = client.post("/recommend", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    with monkeypatch.context() as patch:
        patch.setattr(champion, "current", None)
        assert post(client, {}) == (503, {"error": "no version is loaded: see /readyz"})
        assert client.get("/readyz").status_code == 503
    assert post(client, {})[0] == 200


def test_the_log_and_the_metrics_name_no_user(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recctl.serve"):
        answer = client.post("/recommend", json={"user": "ann@example.com"})
        client.get("/ann@example.com")
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/recommend", 200),
        ("other", 404),
    ]
    assert lines[0]["request"] == answer.json()["request"] == answer.headers["x-request-id"]
    figures = client.get("/metrics").text
    assert 'recctl_requests_total{path="/recommend",status="200"} 1.0' in figures
    assert "recctl_version 1.0" in figures
    assert "recctl_follows 1.0" in figures
    assert "ann@" not in figures + caplog.text


def test_ready_says_which_version_and_what_is_wrong(
    client: TestClient, champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = client.get("/readyz").json()
    assert (content["version"], content["decision"], content["problem"]) == (1, 1, None)
    monkeypatch.setattr(champion, "problem", "version 2 is not sound")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["problem"]) == (200, "version 2 is not sound")
    assert "recctl_follows 0.0" in client.get("/metrics").text


def test_the_status_page_counts_requests_and_shows_the_log(client: TestClient) -> None:
    post(client, {"k": 0})
    page = client.get("/")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
    assert "VERSION 1 SERVES" in page.text
    assert "<td>none to 1</td>" in page.text
    assert re.search(r"<td>/recommend</td>\s*<td [^>]+>1</td>\s*<td [^>]+>1</td>", page.text)


def test_the_openapi_description_has_the_bodies(client: TestClient, tmp_path: Path) -> None:
    schema = client.get("/openapi.json").json()
    service = {"/healthz", "/readyz", "/metrics"}
    assert set(schema["paths"]) == {"/recommend", "/events", "/similar/{item}"} | service
    assert schema["components"]["schemas"]["Asked"]["properties"]["history"]["description"]
    answers = schema["paths"]["/recommend"]["post"]["responses"]
    assert set(answers) == {"200", "default"}
    assert answers["default"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Problem"
    }


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_no_page_loads_from_other_hosts(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404  # FastAPI's would
