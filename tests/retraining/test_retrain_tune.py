"""A retraining that searches for settings first: when it does, and what becomes of the best."""

from pathlib import Path
from typing import Any

import pytest
import small_project as small
import tiny_study

from recctl import pipeline
from recctl.errors import MayPass
from recctl.layout import Layout
from recctl.retraining import tuning
from recctl.retraining.run import Hooks
from recctl.training.params import TrainParams
from recctl.tuning import studies
from recctl.tuning.search import search

pytestmark = pytest.mark.usefixtures("quick_decisions")

TUNE = {"every_days": 30, "budget_minutes": 1}
RATES = {"sasrec": {"learning_rate": [0.003], **dict.fromkeys(tiny_study.FIXED)}}
"""One trial of params.yaml's rate, and trials of another one."""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages and trials that run in this process; sasrec is not trained but counted."""
    monkeypatch.setattr(pipeline, "stage", small.stage)
    monkeypatch.setattr(small, "model_of", lambda layout: "markov")
    tiny_study.here(monkeypatch)

    def three(layout: Layout, *given: Any, minutes: float | None, **more: Any) -> Any:
        assert minutes == 1
        return search(layout, *given, **{**more, "minutes": None, "trials": 3})

    monkeypatch.setattr(tuning, "search", three)


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    train = {**tiny_study.TRAIN, "learning_rate": 1e-7}
    return small.make(
        tmp_path / "project", train=train, tune={"space": RATES}, retrain={"tune": TUNE}
    )


def retrain(layout: Layout) -> list[str]:
    """The lines that a retraining says."""
    lines: list[str] = []
    small.retrain(layout, Hooks(say=lines.append))
    return lines


def rate(layout: Layout) -> float:
    return TrainParams.load(layout.params).learning_rate


def test_the_best_is_trained_with_and_committed_until_the_search_is_too_old(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = retrain(project)
    assert rate(project) == 0.003
    assert "params.yaml: train.learning_rate: 1e-07 -> 0.003" in lines
    assert lines.index("train: done") > lines.index("new study sasrec-1: learning_rate")
    subjects = small.commits(project)
    assert [one.partition(":")[0] for one in subjects] == ["Tuned sasrec", "first"]
    assert small.git(project.root, "status", "--porcelain") == ""

    small.drop(project, 10, 11)
    assert not [line for line in retrain(project) if "study" in line]
    monkeypatch.setattr(studies, "is_due", lambda *given: True)
    small.drop(project, 11, 12)
    assert "new study sasrec-2: learning_rate" in retrain(project)  # the data are others


def test_a_search_that_could_not_be_committed_is_finished_by_the_next_run(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*given: object) -> str:
        raise MayPass("another git is at work")

    with monkeypatch.context() as patch:
        patch.setattr(tuning.git, "commit_only", locked)
        with pytest.raises(MayPass, match="another git"):
            retrain(project)
    lines = retrain(project)
    assert "study sasrec-1, with 3 trials so far" in lines
    assert small.commits(project)[0].startswith("Tuned sasrec")


def test_other_changes_of_params_are_not_committed(project: Layout) -> None:
    project.params.write_text(project.params.read_text() + "# a person's\n")
    assert "params.yaml is not committed: it has other changes too" in retrain(project)
    assert small.commits(project) == ["first"]
    assert rate(project) == 0.003


def test_a_model_without_settings_is_not_tuned(project: Layout) -> None:
    small.settings(project, train={"device": "cpu", "model": "markov"})
    assert not [line for line in retrain(project) if "study" in line]
    assert not (project.tuning / "studies.db").exists()
