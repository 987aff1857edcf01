"""Similar items over HTTP and at the terminal, and one sentence for every mistake."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import tiny_project as tiny
import torch
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recctl.cli.app import app
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.models.base import Recommender, save_model
from recctl.models.markov import Markov
from recctl.models.popularity import Popularity
from recctl.recommend import Served
from recctl.sequences.store import Histories
from recctl.sequences.vocabulary import Vocabulary
from recctl.serve import app as endpoints
from recctl.serve.champion import Champion, Loaded

ITEMS = ("a", "b/c", "\x07d\n", "e\nf", "?g=#", "..", "d")
TITLES = {"b/c": "Bee [bold]Sea"}
VOCABULARY = Vocabulary(ITEMS, (1,) * len(ITEMS), TITLES)
MARKOV = Markov.fit(Histories.of([[0, 1, 0, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 6]]), 7)


def champion(root: Path, model: Recommender = MARKOV) -> Champion:
    """One that stays."""
    tiny.set_params(root)
    found = Champion(Layout(root), print)
    found.current = Loaded(4, 5, "2026-01-01T00:00:00+00:00", Served(model, VOCABULARY))
    return found


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    answering = champion(tmp_path_factory.mktemp("similar"))
    with TestClient(endpoints.build(answering), "http://localhost") as reached:
        yield reached


def test_the_answer_names_version_decision_titles_and_scores(client: TestClient) -> None:
    answer = client.get("/similar/a")
    content = answer.json()
    assert answer.status_code == 200
    assert content.pop("request") == answer.headers["x-request-id"]
    assert content == {
        "version": 4,
        "decision": 5,
        "item": "a",
        "title": None,
        "similar": [
            {"rank": 1, "item": "b/c", "title": "Bee [bold]Sea", "score": pytest.approx(2 / 3)},
            {"rank": 2, "item": "\x07d\n", "title": None, "score": pytest.approx(1 / 3)},
        ],
    }
    assert len(client.get("/similar/a?k=1").json()["similar"]) == 1


@pytest.mark.parametrize("item", ITEMS)
def test_any_id_may_stand_in_a_path(client: TestClient, item: str) -> None:
    path = quote(item, safe="").replace(".", "%2E")
    content = client.get(f"/similar/{path}").json()
    assert content["item"] == item
    expected = Served(MARKOV, VOCABULARY).similar(item, 10)
    assert [one["item"] for one in content["similar"]] == [one.item_id for one in expected]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/similar/no%00such", 404, "version 4 does not know this item"),
        ("/similar/", 404, "version 4 does not know this item"),
        ("/similar/a%0A", 404, "version 4 does not know this item"),
        ("/similar/%FF", 404, "version 4 does not know this item"),
        ("/similar/a?k=0", 422, "k: input should be greater than or equal to 1"),
        ("/similar/a?k=10001", 422, "k: input should be less than or equal to 10000"),
        ("/similar/a?k=all", 422, "k: input should be a valid integer"),
    ],
)
def test_a_mistake_is_one_sentence(client: TestClient, path: str, status: int, error: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert answer.json()["error"].startswith(error)


def test_no_version_and_one_that_says_nothing_about_pairs(tmp_path: Path) -> None:
    popular = champion(tmp_path, Popularity(torch.arange(7.0)))
    with TestClient(endpoints.build(popular), "http://localhost") as client:
        answer = client.get("/similar/a")
        error = "popularity does not say which items are similar; use another model"
        assert (answer.status_code, answer.json()) == (422, {"error": error})
        popular.current = None
        assert client.get("/similar/a").status_code == 503
        assert 'path="/similar/{item}",status="422"' in client.get("/metrics").text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model folder outside of any project."""
    save_model(MARKOV, tmp_path / "model")
    VOCABULARY.save(tmp_path / "model" / "vocabulary.json")
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "model")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["similar", *arguments])
    if done.exception is not None:
        raise done.exception
    return str(done.output)


def test_the_command_answers_as_the_service(client: TestClient, folder: str) -> None:
    content = json.loads(run("a", "--model", folder, "--json"))
    served = client.get("/similar/a").json()["similar"]
    assert content == {
        "item_id": "a",
        "title": None,
        "similar": [{"item_id": one.pop("item"), **one} for one in served],
    }
    shown = run("b/c", "--model", folder, "-k", "1")
    assert "Similar to b/c, Bee [bold]Sea" in shown
    assert shown.split()[-3:] == ["1", "a", "0.500"]
    assert run("d", "--model", folder) == "The model knows no item that is similar\n"


def test_mistakes_at_the_terminal(folder: str) -> None:
    with pytest.raises(UserError, match="does not know the item 'x'"):
        run("x", "--model", folder)
    with pytest.raises(UserError, match="-k"):
        run("a", "--model", folder, "-k", "0")
    with pytest.raises(UserError, match="no recctl project"):
        run("a")
