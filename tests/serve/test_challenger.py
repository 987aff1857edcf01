"""A challenger is as sound as a champion, and can do no harm to answers."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_project as tiny
import torch
from fastapi.testclient import TestClient

from lives import wait_for
from recctl import journal
from recctl.layout import Layout
from recctl.models.popularity import Popularity
from recctl.promotion.promote import Outcome
from recctl.recommend import Rules, Served
from recctl.serve import app as endpoints
from recctl.serve import challenger as module
from recctl.serve import writer
from recctl.serve.batches import Answer, Batches
from recctl.serve.challenger import Challenger
from recctl.serve.champion import Champion, Loaded
from recctl.serve.params import Compared


@pytest.fixture
def project(tmp_path: Path, quick_decisions: None) -> Layout:
    """Version 1 serves; version 2 was rejected."""
    layout = tiny.make(tmp_path / "project")
    tiny.promote(layout, 1e6)
    tiny.promote(layout, 1e9)
    return layout


def of(layout: Layout, version: int = 2, share: float = 1.0, shadow: float = 0.0) -> Challenger:
    asked = Compared(version=version, interleave=share, shadow=shadow)
    return Challenger(layout, print, asked)


def state(line: Any = (), previous: int | None = None) -> Any:
    """What the registry says."""
    return SimpleNamespace(line=line, wanted={"previous": previous})


def test_it_is_loaded_once_and_stops_where_it_must(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenger = of(project)
    Champion(project, print, challenger.follow).renew()
    loaded = challenger.current
    assert loaded is not None
    assert (loaded.version, challenger.problem) == (2, None)
    champion = Champion(project, print, challenger.follow)
    champion.renew()
    assert challenger.current is loaded

    forgotten = SimpleNamespace(altered=False, record=SimpleNamespace(retire="now", trained=[2]))
    challenger.follow(state(line=[forgotten]), 1)
    assert (challenger.current, challenger.problem) == (
        None,
        "version 2 is not compared: it was trained on users who were forgotten",
    )
    challenger.follow(state(), 2)
    assert challenger.problem == "version 2 is not compared: it is the champion"

    monkeypatch.setattr(module, "AGAIN", 0.0)
    for weights in project.root.glob("mlartifacts/**/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    champion.renew()
    assert challenger.current is None
    assert "no version is compared with the champion: version 2 is not sound: " in str(
        challenger.problem
    )
    assert champion.problem is None
    assert champion.current is not None


def test_a_user_stays_in_or_out(alone: Champion) -> None:
    users = [f"u{n}" for n in range(400)]
    some, more = (
        {user for user in users if of(alone.layout, 4, share).takes(user)} for share in (0.2, 0.5)
    )
    assert 40 < len(some) < 130 < len(more) < 270
    assert some < more
    assert {user for user in users if of(alone.layout, 5, 0.2).takes(user)} != some


def reversed_model(served: Served) -> Served:
    """Likes best what is least popular."""
    return replace(served, model=Popularity(torch.arange(served.vocabulary.size).float()))


def test_lists_of_its_users_are_interleaved_and_kept(alone: Champion) -> None:
    now = alone.current
    assert now is not None
    challenger = of(alone.layout, 4)
    challenger.current = Loaded(4, 0, "", reversed_model(now.served))
    client = TestClient(endpoints.build(alone, challenger), "http://localhost")
    with client:
        both = client.post("/recommend", json={"user": "u001", "k": 6}).json()
        single = client.post("/recommend", json={"history": ["i3"], "k": 6}).json()
        ready = client.get("/readyz").json()
        challenger.current, challenger.problem = None, "version 4 is not sound"
        without = client.post("/recommend", json={"user": "u001", "k": 6}).json()
        stopped = client.get("/readyz").json()
    assert (both["challenger"], single["challenger"], without["challenger"]) == (4, None, None)
    assert (ready["challenger"], ready["problem"]) == (4, None)
    assert (stopped["challenger"], stopped["problem"]) == (None, "version 4 is not sound")
    [path] = journal.exposures(alone.layout).files()
    [row] = journal.pq.read_table(path).to_pylist()
    items = [one["item"] for one in both["recommendations"]]
    assert (row["request"], row["items"]) == (both["request"], items)
    assert (row["version"], row["challenger"]) == (3, 4)
    assert sorted(row["given_by"]) == [3, 3, 3, 4, 4, 4]
    assert [one["rank"] for one in both["recommendations"]] == [*range(1, 7)]
    theirs = [item for item, by in zip(items, row["given_by"], strict=True) if by == 4]
    history = alone.users.history("u001") if alone.users else None
    assert history is not None
    best = challenger_list(reversed_model(now.served), history.item_ids)
    assert theirs == [item for item in best if item in theirs]
    assert theirs[0] == best[0]


def challenger_list(served: Served, history: list[str]) -> list[str]:
    return [one.item_id for one in served.recommend(history, 6, filter_seen=True)]


class Failing(Popularity):
    """A model that fails, or waits for 10 seconds at most."""

    waits: threading.Event | None = None

    def score(self, histories: Any) -> Any:
        if self.waits is None:
            raise ZeroDivisionError
        self.waits.wait(10)
        return super().score(histories)


@pytest.mark.parametrize("late", [False, True])
def test_where_it_fails_or_is_late_the_champion_answers_alone(alone: Champion, late: bool) -> None:
    now, ends = alone.current, threading.Event()
    assert now is not None
    challenger = of(alone.layout, 4)
    model = Failing(torch.ones(now.served.vocabulary.size))
    model.waits = ends if late else None
    challenger.current = Loaded(4, 0, "", replace(now.served, model=model))

    async def answers() -> list[Answer]:
        batches = Batches(alone, challenger)
        task = asyncio.create_task(batches.run())
        found = [await batches.answer([], Rules(3, True), interleaved=True) for _ in range(2)]
        task.cancel()
        return found

    alike = now.served.recommend([], 3, filter_seen=True)
    for answer in asyncio.run(answers()):
        assert (answer.best, answer.challenger) == (alike, None)
    ends.set()
    wrong = None if late else "version 4 is not compared: it failed (ZeroDivisionError())"
    assert challenger.problem == wrong


def passes(champion: Champion, challenger: Challenger) -> list[Any]:
    """What is kept of a pass with two requests and of one that no version can answer."""

    async def kept() -> list[Any]:
        rows: list[Any] = []
        batches = Batches(champion, challenger, rows.append)
        task = asyncio.create_task(batches.run())
        waiting = (batches.answer(history, Rules(4, True)) for history in ([], ["i3"]))
        await asyncio.gather(*waiting)
        while not rows:
            await asyncio.sleep(0.001)
        task.cancel()
        return rows

    return asyncio.run(kept())


def test_in_the_shadow_figures_are_kept_and_nothing_is_shown(alone: Champion) -> None:
    now = alone.current
    assert now is not None
    challenger = of(alone.layout, 4, shadow=1.0)
    other = reversed_model(now.served)
    challenger.current = Loaded(4, 0, "", other)
    [[us, version, number, seconds, its_seconds, lists, failed, overlap]] = passes(
        alone, challenger
    )
    assert (version, number, lists, failed) == (3, 4, 2, 0)
    assert 0 < seconds < 10
    assert 0 < its_seconds < 10
    assert us > 1.7e15
    each = [
        {one.item_id for one in served.recommend(history, 4, filter_seen=True)}
        for history in ([], ["i3"])
        for served in (now.served, other)
    ]
    assert overlap == (len(each[0] & each[1]) + len(each[2] & each[3])) / 4

    failing = Failing(torch.ones(now.served.vocabulary.size))
    challenger.current = Loaded(4, 0, "", replace(now.served, model=failing))
    [[*_, its_seconds, lists, failed, overlap]] = passes(alone, challenger)
    assert (its_seconds, lists, failed, overlap) == (None, 2, 2, 0)
    assert challenger.problem is None  # its errors are counted


def test_figures_of_the_shadow_reach_the_disk(
    alone: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "TICK", 0.01)
    now, log = alone.current, journal.shadows(alone.layout)
    assert now is not None
    challenger = of(alone.layout, 4, shadow=1.0)
    challenger.current = Loaded(4, 0, "", now.served)
    with TestClient(endpoints.build(alone, challenger), "http://localhost") as client:
        client.post("/recommend", json={"k": 3})
        wait_for("a row", lambda: [*log.waiting()])
    [path] = log.files()
    [row] = journal.pq.read_table(path).to_pylist()
    assert (row["version"], row["challenger"], row["lists"], row["overlap"]) == (3, 4, 1, 1.0)
    assert journal.exposures(alone.layout).files() == []


def ask(champion: Champion, challenger: Challenger, times: int) -> None:
    """Ask a champion that fails; the challenger repeats each request."""

    async def asking() -> None:
        batches = Batches(champion, challenger)
        task = asyncio.create_task(batches.run())
        for _ in range(times):
            with pytest.raises(ZeroDivisionError):
                await batches.answer([], Rules(3, True))
            while challenger._step is not None and not challenger._step.done():
                await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(asking())


@pytest.mark.parametrize("wanted", [True, False])
def test_a_champion_that_fails_where_the_one_before_does_not_is_rolled_back(
    project: Layout, wanted: bool
) -> None:
    tiny.promote(project, 1.0, force=True, reason="a test")
    tiny.set_params(project.root, promotion={**tiny.POLICY, "rollback": wanted})
    undone: list[Outcome] = []
    asked = Compared(version="previous", shadow=0.0)
    challenger = Challenger(project, print, asked, undone.append)
    champion = Champion(project, print, challenger.follow)
    champion.renew()
    now = champion.current
    assert now is not None
    assert (now.version, challenger.number) == (3, 1)
    failing = replace(now.served, model=Failing(torch.ones(now.served.vocabulary.size)))
    champion.current = replace(now, served=failing)
    ask(champion, challenger, 13)
    champion.renew()
    assert undone == []
    ask(champion, challenger, 2)
    champion.renew()
    if not wanted:
        assert undone == []
        return
    [outcome] = undone
    assert outcome.record is not None
    assert outcome.record.sentence == (
        "rolled back from version 3 to version 1: by use: version 3 failed in 15 passes and took "
        "more than 2 times as long in 0, where version 1 did not; the other way round it was 0"
    )
    champion.renew()
    assert (champion.current.version, challenger.number) == (1, None)
