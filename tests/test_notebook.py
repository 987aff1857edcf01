"""The notebook's part, in a tiny project with two decisions."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import tiny_project as tiny
from nbclient import NotebookClient

import recctl
from recctl.errors import UserError
from recctl.evaluation import metrics
from recctl.promotion import history
from recctl.recommend import Served

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> recctl.Project:
    """Version 1, item-knn, was replaced by version 2, markov, which the workspace has too."""
    layout = tiny.make(tmp_path_factory.mktemp("notebook") / "project")
    tiny.promote(layout, "item-knn")
    tiny.promote(layout, "markov")
    return recctl.Project(layout.root / "artifacts")


def test_it_is_imported_where_it_is_asked_for() -> None:
    lazy = "import sys, recctl; assert 'pandas' not in sys.modules; recctl.Project"
    subprocess.run([sys.executable, "-c", lazy], check=True)
    with pytest.raises(AttributeError, match="no attribute 'projekt'"):
        recctl.projekt  # noqa: B018
    with pytest.raises(UserError, match="no recctl project in"):
        recctl.Project("/")


def test_ranks_have_every_target_and_its_groups(project: recctl.Project) -> None:
    ranks = project.ranks()
    assert len(ranks) == ranks["user_id"].nunique() == tiny.USERS
    assert set(ranks["history length"]) <= {"short", "medium", "long", None}
    by_length = ranks.groupby("history length")["history_length"]
    assert (
        list(by_length.max().sort_values().index) == ["short", "medium", "long"][: len(by_length)]
    )
    gains = metrics.per_case("ndcg@10", ranks["rank"].to_numpy(), tiny.ITEMS)
    mean = project.decision(2).record.means.full["challenger"]["ndcg@10"]
    assert gains.mean() == pytest.approx(mean)


def test_metrics_are_the_evaluations(project: recctl.Project) -> None:
    path = project.layout.evaluation / "metrics.json"
    before = path.read_text()
    path.write_text(before[:-2] + ', "full": {"model": {"hr@10": 0.5, "mrr": 0.25}}}')
    found = project.metrics()
    path.write_text(before)
    assert found.loc["model"].to_dict() == {"hr@10": 0.5, "mrr": 0.25}


@pytest.mark.parametrize("name", ["workspace", "champion", 1, "2"])
def test_lists_are_those_of_one_history_at_a_time(project: recctl.Project, name: object) -> None:
    model = project.model(name)
    histories = [["i3", "i5"], [], ["unheard-of", "i9"]]
    found = model.recommend(histories, k=4)
    assert list(found.columns) == ["history", "rank", "item_id", "score", "title"]
    for place, items in enumerate(histories):
        known = [item for item in items if item != "unheard-of"]
        alone = model.served.recommend(known, 4, filter_seen=True)
        mine = found[found["history"] == place]
        assert mine["item_id"].tolist() == [one.item_id for one in alone]
        assert mine["score"].tolist() == pytest.approx([one.score for one in alone])
    assert model.recommend().equals(model.recommend([[]]))


def test_what_may_be_recommended_is_bounded(project: recctl.Project) -> None:
    model = project.model()
    best = model.recommend([["i3"]], k=3)["item_id"].tolist()
    without = model.recommend([["i3"]], k=80, exclude=best[:1])["item_id"].tolist()
    assert without[:2] == best[1:]
    assert best[0] not in without
    assert model.recommend([["i3"]], among=[best[2], "i3", "?"])["item_id"].tolist() == [best[2]]
    seen = model.recommend([["i3"]], k=80, filter_seen=False)["item_id"].tolist()
    assert "i3" in seen


def test_users_and_frames_give_what_their_histories_give(project: recctl.Project) -> None:
    model, log = project.model(), tiny.log()
    chosen = log[log["user_id"].isin(["u001", "u007"])]
    by_frame = model.recommend(chosen.sample(frac=1, random_state=1), k=5)
    by_name = model.recommend(users=["u001", "u007"], k=5)
    by_name = by_name.sort_values(["user_id", "rank"], ignore_index=True)
    by_frame = by_frame.sort_values(["user_id", "rank"], ignore_index=True)
    pd.testing.assert_frame_equal(by_frame, by_name)
    with pytest.raises(UserError, match="no user 'nobody'"):
        model.recommend(users=["nobody"])


def test_a_comparison_has_the_gates_figures(
    project: recctl.Project, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recctl.compare(project.model(2), project.model(1))
    row = found.to_frame().set_index("name").loc["ndcg@10"]
    means = found.record.means.full
    assert row["difference"] == pytest.approx(
        means["challenger"]["ndcg@10"] - means["champion"]["ndcg@10"]
    )
    assert row["low"] <= row["difference"] <= row["high"]
    found.show()
    assert "version 2" in capsys.readouterr().out
    folder = project.model(project.layout.model)
    with pytest.raises(UserError, match="cannot be compared"):
        recctl.compare(folder, project.model(1))


def test_the_log_is_a_frame_and_a_decision_a_page(project: recctl.Project) -> None:
    log = project.decisions()
    assert log.index.tolist() == [1, 2]
    assert log["serves"].tolist() == [1, 2]
    assert log.loc[2, ["verdict", "model", "before", "metric", "state"]].tolist() == [
        "promoted", "markov", 1, "ndcg@10", "done",
    ]  # fmt: skip
    assert log.loc[2, "of_challenger"] > log.loc[2, "of_champion"] > 0
    shown = project.decision(2)._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "Decision 2: promotion of tiny, PROMOTED" in shown
    assert not re.search(r"<(?!/?iframe)", shown)
    with pytest.raises(UserError, match="no decision 3"):
        project.decision(3)


def test_the_tour_of_the_docs_runs(
    project: recctl.Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing on stderr, and with the outputs that the docs show."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    with_full = {"full": {"model": {"hr@10": 0.5}}}
    metrics_json = project.layout.evaluation / "metrics.json"
    before = metrics_json.read_text()
    metrics_json.write_text(json.dumps({**json.loads(before), **with_full}))
    tour = nbformat.read(TOUR, as_version=4)
    documented = [kinds(cell) for cell in tour.cells]
    try:
        NotebookClient(tour, resources={"metadata": {"path": str(project.layout.root)}}).execute()
    finally:
        metrics_json.write_text(before)
    assert [kinds(cell) for cell in tour.cells] == documented


def kinds(cell: Any) -> list[str]:
    """What a cell shows."""
    return [output.get("name") or output["output_type"] for output in cell.get("outputs", [])]


def test_damage_is_one_line(project: recctl.Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no version 'best-one' of 'tiny'"):
        project.model("best-one")
    with pytest.raises(UserError):
        project.model(tmp_path)
    assert project.model().name == history.WORKSPACE
    assert isinstance(project.model().served, Served)
