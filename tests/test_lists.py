"""`recctl recommend --all`: the lists of single requests, for everyone, continued after a kill."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny_project as tiny

from commands import runner
from recctl import lists
from recctl.layout import Layout
from recctl.recommend import Served, user_histories
from recctl.sequences.store import SequenceData


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    """A trained workspace whose data hold items that the model does not know."""
    layout = tiny.make(tmp_path / "project")
    tiny.train_markov(layout, smoothing=1e6)
    return layout


def write(project: Layout, **given: Any) -> dict[str, tuple[list[str], list[float]]]:
    """The lists by user."""
    data = SequenceData.load(project.sequences)
    out = project.root / "lists.parquet"
    settings = {"k": 5, "filter_seen": True, "basis": {"model": "one"}, **given}
    assert lists.write(Served.load(project.model), data, out, **settings) == len(data.user_ids)
    rows = pq.read_table(out).to_pylist()
    assert [row["user_id"] for row in rows] == data.user_ids
    return {row["user_id"]: (row["item_ids"], row["scores"]) for row in rows}


@pytest.mark.parametrize("filter_seen", [True, False])
def test_everyone_gets_the_list_of_a_single_request(
    project: Layout, monkeypatch: pytest.MonkeyPatch, filter_seen: bool
) -> None:
    tiny.take_in(project, tiny.log(days=14, items=tiny.ITEMS + 9))  # later than the model
    monkeypatch.setattr(lists, "USERS_AT_ONCE", 150)
    found = write(project, k=70, filter_seen=filter_seen)
    served = Served.load(project.model)
    unknown = 0
    for user, history in user_histories(project.sequences, list(found)).items():
        known, left_out = served.known(history.item_ids)
        unknown += len(left_out)
        best = served.recommend(known, 70, filter_seen=filter_seen)
        assert found[user][0] == [one.item_id for one in best]
        assert found[user][1] == pytest.approx([one.score for one in best])
    assert unknown
    assert not list(project.root.glob(".lists*"))


def test_what_a_killed_run_wrote_is_used_again_unless_it_is_of_another_model(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "USERS_AT_ONCE", 100)
    made, said = [], []
    right = lists._lists

    def counted(served: Served, data: SequenceData, users: slice, *given: Any) -> Any:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(users.start)
        return right(served, data, users, *given)

    monkeypatch.setattr(lists, "_lists", counted)
    with pytest.raises(KeyboardInterrupt):
        write(project)
    assert made == [0, 100]
    assert not (project.root / "lists.parquet").exists()
    made.clear()
    with pytest.raises(KeyboardInterrupt):
        write(project, basis={"model": "two"})
    assert made == [0, 100]
    made.clear()
    write(project, basis={"model": "two"}, say=said.append)
    assert made == [200, 300]
    assert said[-1] == "400 of 400 users"


def test_the_command(
    project: Layout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = runner(monkeypatch, capfd)
    done = run(project.root, "recommend", "--all", "-k", "3", "--out", "all.parquet")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["400 of 400 users", "all.parquet: lists of 400 users"]
    (first, *_) = pq.read_table(project.root / "all.parquet").to_pylist()
    one = json.loads(
        run(project.root, "recommend", "--user", first["user_id"], "-k", "3", "--json").out
    )
    assert first["item_ids"] == [item["item_id"] for item in one["recommendations"]]
    for arguments in (["--all"], ["--out", "x"], ["--all", "--out", "x", "--user", "1"]):
        refused = run(project.root, "recommend", *arguments)
        assert refused.code == 2
        assert "--all and --out belong together" in refused.err
    nowhere = run(project.root, "recommend", "--all", "--out", "all.parquet/x")
    assert nowhere.code == 2
    assert nowhere.err.count("\n") == 1


def test_the_champion_is_named(
    project: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    quick_decisions: None,
) -> None:
    tiny.promote(project, 10.0)
    tiny.train_markov(project, smoothing=1e9)
    run = runner(monkeypatch, capfd)
    lists_of = {}
    for name in ("champion", "1", "workspace"):
        out = f"{name}.parquet"
        assert run(project.root, "recommend", "--all", "--out", out, "--model", name).code == 0
        lists_of[name] = pq.read_table(project.root / out)
    assert lists_of["champion"].equals(lists_of["1"])
    assert not lists_of["champion"].equals(lists_of["workspace"])
    one = run(project.root, "recommend", "--history", "i1", "--model", "champion", "--json")
    assert one.code == 0
    missing = run(project.root, "recommend", "--history", "i1", "--model", "no such")
    assert missing.code == 2
    assert "no version 'no such' of 'tiny'" in missing.err
