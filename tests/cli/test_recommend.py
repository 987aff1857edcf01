"""recctl recommend: the same list that evaluation ranks, from a user's id or from a history."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from recctl.cli.app import app
from recctl.errors import UserError
from recctl.evaluation.ranking import rank_cases
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models.base import save_model
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.models.popularity import Popularity
from recctl.recommend import Served
from recctl.sequences.store import SequenceData
from recctl.sequences.vocabulary import COLD, Vocabulary

N_ITEMS, USERS = 12, 20
ITEMS = tuple(f"m{n}" for n in range(N_ITEMS))
TITLES = {"m0": "Zero [bold]Hour", "m1": "One"}


def encoder() -> Encoder:
    """An untrained BERT4Rec with weights so large that no two scores are near each other."""
    made = Encoder(N_ITEMS, 6, 8, 1, 2, 0.0, 0.0)
    made.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(10)
    return made


def write_sequences(folder: Path) -> None:
    """Users u0, u1, ... with 3 to 9 items each; u3's third item is cold."""
    rng = np.random.default_rng(0)
    walks = [rng.permutation(N_ITEMS)[: rng.integers(3, 10)] for _ in range(USERS)]
    walks[3][2] = COLD
    ends = np.cumsum([len(walk) for walk in walks])
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    folder.mkdir(parents=True)
    np.save(folder / "items.npy", np.concatenate(walks).astype(np.int32))
    np.save(folder / "times.npy", np.arange(ends[-1]))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "train_end.npy", ends - 2)
    np.save(folder / "validation.npy", ends - 2)
    np.save(folder / "test.npy", ends - 1)
    pq.write_table(pa.table({"user_id": [f"u{n}" for n in range(USERS)]}), folder / "users.parquet")
    at = int(offsets[3]) + 2
    cold = pa.table({"position": [at], "item_id": ["new"], "title": pa.array([None], pa.string())})
    pq.write_table(cold, folder / "cold.parquet")
    write_json(folder / "report.json", {"fingerprint": "f"})
    Vocabulary(ITEMS, tuple(range(N_ITEMS, 0, -1)), TITLES).save(folder / "vocabulary.json")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    layout = Layout(tmp_path / "project")
    write_sequences(layout.sequences)
    save_model(Bert4Rec(encoder()), layout.model)
    shutil.copy(layout.sequences / "vocabulary.json", layout.model)
    (layout.root / "dvc.yaml").write_text("stages: {}\n")
    layout.params.write_text("evaluate: {filter_seen: true}\n")
    monkeypatch.chdir(layout.root)
    return layout


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["recommend", *arguments])
    if done.exception is not None:
        raise done.exception
    assert done.exit_code == 0
    return str(done.output)


def ask(*arguments: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run("--json", *arguments))
    return content


def ids(content: dict[str, Any], key: str = "recommendations") -> list[str]:
    return [one["item_id"] for one in content[key]]


@pytest.mark.parametrize("filter_seen", [True, False])
def test_the_target_stands_where_evaluation_ranks_it(project: Layout, filter_seen: bool) -> None:
    """For a test case's history, position == rank; and every rank within the list is met."""
    data = SequenceData.load(project.sequences)
    cases = data.cases("test")
    ranks = rank_cases(Bert4Rec(encoder()), cases, filter_seen=filter_seen).full
    served, k, checked = Served.load(project.model), 5, 0
    for case in range(len(cases)):
        history = [ITEMS[item] for item in cases.histories[case]]
        recommended = [one.item_id for one in served.recommend(history, k, filter_seen=filter_seen)]
        target = ITEMS[cases.targets[case]]
        if ranks[case] <= k:
            assert recommended.index(target) + 1 == ranks[case]
            checked += 1
        else:
            assert target not in recommended
    assert 0 < checked < len(cases)


def test_scores_fall_and_ranks_count_from_one(project: Layout) -> None:
    chosen = ask("--history", "m1,m2", "-k", "4")["recommendations"]
    assert [one["rank"] for one in chosen] == [1, 2, 3, 4]
    scores = [one["score"] for one in chosen]
    assert scores == sorted(scores, reverse=True)


def test_a_user_is_recommended_what_follows_all_that_is_known_of_him(project: Layout) -> None:
    data = SequenceData.load(project.sequences)
    walk = [ITEMS[item] for item in data.items[data.offsets[7] : data.offsets[8]]]
    content = ask("--user", "u7")
    assert (content["user_id"], ids(content, "history")) == ("u7", walk)
    assert ids(content) == ids(ask("--history", ",".join(walk)))
    assert set(ids(content)).isdisjoint(walk)
    assert len(ids(content)) == min(10, N_ITEMS - len(walk))


def test_several_users_get_one_answer_each(project: Layout) -> None:
    both = json.loads(run("--user", "u7", "--user", "u3", "--json"))
    assert both == [ask("--user", "u7"), ask("--user", "u3")]
    shown = run("--user", "u7", "--user", "u3")
    assert shown == run("--user", "u7") + run("--user", "u3")


def test_cold_items_of_a_user_are_dropped_and_named(project: Layout) -> None:
    content = ask("--user", "u3")
    data = SequenceData.load(project.sequences)
    assert content["dropped"] == ["new"]
    assert len(content["history"]) == data.offsets[4] - data.offsets[3] - 1
    assert "because the model does not know them: new\n" in run("--user", "u3")
    (project.sequences / "cold.parquet").unlink()  # sequences of an older recctl
    assert ask("--user", "u3") == {**content, "dropped": []}


def test_a_user_of_a_split_whose_item_indices_differ_from_the_models(project: Layout) -> None:
    """Items are identified by their ids: an older model orders its catalogue otherwise."""
    before = ask("--user", "u7")
    turned = Vocabulary(ITEMS[::-1], tuple(range(N_ITEMS)), TITLES)
    turned.save(project.model / "vocabulary.json")
    after = ask("--user", "u7")
    assert ids(after, "history") == ids(before, "history")
    assert set(ids(after)).isdisjoint(ids(before, "history"))


def test_unknown_items_of_a_history_are_dropped_and_said(project: Layout) -> None:
    content = ask("--history", "m1, nonsense ,m2", "--history", "[x]")
    assert content["dropped"] == ["nonsense", "[x]"]
    assert ids(content) == ids(ask("--history", "m1,m2"))
    assert "does not know them: nonsense" in run("--history", "m1,nonsense")


def test_a_newcomer(project: Layout) -> None:
    content = ask("-k", "3")
    assert content["history"] == []
    assert len(ids(content)) == 3
    assert "Recommended for a newcomer" in run()


def test_seen_items_may_come_again(project: Layout) -> None:
    everything = ask("--history", "m1,m2", "-k", "99", "--no-filter-seen")
    assert sorted(ids(everything)) == sorted(ITEMS)
    assert set(ids(ask("--history", "m1,m2", "-k", "99"))) == set(ITEMS) - {"m1", "m2"}
    assert ask("--history", "m1,m2")["filter_seen"] is True


def test_the_seen_filter_is_the_projects_unless_said(project: Layout) -> None:
    project.params.write_text("evaluate: {filter_seen: false}\n")
    assert ask("--history", "m1")["filter_seen"] is False
    assert ask("--history", "m1", "--filter-seen")["filter_seen"] is True


@pytest.mark.parametrize(
    ("kind", "learnt", "refused"),
    [("bert4rec", True, True), ("bert4rec", False, False), ("popularity", True, False)],
)
def test_seen_items_are_not_recommended_by_scores_that_mean_nothing(
    project: Layout, kind: str, learnt: bool, refused: bool
) -> None:
    model = Bert4Rec(encoder()) if kind == "bert4rec" else Popularity(torch.arange(N_ITEMS).float())
    save_model(model, project.model, {"params": {"filter_seen": learnt}})
    assert len(ids(ask("--history", "m1", "-k", "99"))) == N_ITEMS - 1
    if refused:
        with pytest.raises(UserError, match="has not seen: its scores of seen items mean nothing"):
            ask("--history", "m1", "--no-filter-seen")
    else:
        assert len(ids(ask("--history", "m1", "-k", "99", "--no-filter-seen"))) == N_ITEMS


def test_a_history_of_the_whole_catalogue_leaves_nothing(project: Layout) -> None:
    assert ids(ask("--history", ",".join(ITEMS))) == []
    assert "Nothing is left to recommend" in run("--history", ",".join(ITEMS))


def test_the_model_folder_alone_is_enough(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ids(ask("--history", "m1,m2"))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project.model, elsewhere / "model")
    shutil.rmtree(project.root)
    monkeypatch.chdir(elsewhere)
    assert ids(ask("--model", "model", "--history", "m1,m2")) == expected


def test_any_model_of_the_table_serves(project: Layout) -> None:
    save_model(Popularity(torch.arange(N_ITEMS, 0, -1).float()), project.model)
    assert ids(ask("--history", "m0", "-k", "2")) == ["m1", "m2"]


def test_what_a_person_sees(project: Layout) -> None:
    output = run("--history", "m0,m1,m2", "-k", "2")
    assert "History, last 3 of 3" in output
    assert "Zero [bold]Hour" in output
    assert "score" in output


def test_a_long_history_shows_its_end(project: Layout) -> None:
    output = run("--history", ",".join(["m5"] * 40), "-k", "1")
    assert "History, last 10 of 40" in output
    assert "\n31 " in output
    assert "\n30 " not in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--user", "u99"], "no user 'u99'.*--history"),
        (["--user", "u1", "--user", "u99"], "no user 'u99'.*--history"),
        (["--user", "u1", "--history", "m1"], "both given"),
        (["--model", "no/where"], "no model folder no/where"),
    ],
)
def test_mistakes_are_one_line(project: Layout, arguments: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run(*arguments)


def test_before_the_first_training(project: Layout) -> None:
    shutil.rmtree(project.model)
    with pytest.raises(UserError, match="dvc repro train"):
        run("--user", "u1")


def test_a_vocabulary_of_another_model(project: Layout) -> None:
    Vocabulary(("a",), (1,)).save(project.model / "vocabulary.json")
    with pytest.raises(UserError, match="12 items and a vocabulary of 1"):
        run()


def test_damaged_weights(project: Layout) -> None:
    (project.model / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(UserError, match="damaged"):
        run()


def test_outside_of_a_project_a_model_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no recctl project"):
        run("--history", "m1")
