"""A search in a tiny project: its trials, what it reads, what it writes, what it refuses."""

import errno
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import tiny_project as tiny
import tiny_study
from optuna.trial import TrialState

from recctl import cli
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.tracking import server
from recctl.training.checkpoint import Checkpoint
from recctl.tuning import report, studies, worker
from recctl.tuning.report import Report
from recctl.tuning.search import existing
from recctl.tuning.worker import Job


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    tiny_study.here(monkeypatch)
    return tiny_study.make(tmp_path / "project")


def values(found: Report) -> list[float | None]:
    return [one.value for one in found.trials]


def job(found: Report, layout: Layout, **limits: Any) -> Job:
    """One that runs further trials of the study in this process."""
    given: dict[str, Any] = {"until": None, "count": None, **limits}
    return Job(
        root=layout.root,
        study=found.study.study_name,
        device="cpu",
        filter_seen=True,
        turn=0,
        zero=time.time(),
        **given,
    )


def test_trials_their_runs_and_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_study.here(monkeypatch, plots=True)
    project = tiny_study.make(tmp_path / "project")
    found = tiny_study.search(project, trials=4)
    assert [one.number for one in found.trials] == [0, 1, 2, 3]
    first = found.trials[0].user_attrs["settings"]
    assert first["learning_rate"] == 0.004
    assert first["sasrec.hidden_size"] == 8
    assert "sasrec.layers" not in first
    best = max(one.value or 0 for one in found.completed)
    assert found.completed[0].value == best

    tracking = server.connect(project)
    parent = tracking.client.get_run(found.study.user_attrs["run_id"])
    assert parent.data.metrics["validation_ndcg_at_10"] == best
    assert parent.data.metrics["trials"] == 4
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = tracking.client.search_runs([tracking.experiment_id], query)
    assert {one.info.run_id for one in children} == {
        one.user_attrs["run_id"] for one in found.trials
    }
    assert {one.info.status for one in (parent, *children)} == {"FINISHED"}
    assert all(one.data.params["train.model"] == "sasrec" for one in children)
    curve = tracking.client.get_metric_history(children[0].info.run_id, "ndcg")
    assert len(curve) > 1

    files = sorted(path.name for path in (project.tuning / "sasrec-1").iterdir())
    assert {"report.json", "history.png", "curves.png"} <= set(files)
    kept = {one.path for one in tracking.client.list_artifacts(parent.info.run_id, "tuning")}
    assert kept == {f"tuning/{name}" for name in files}
    content = json.loads((project.tuning / "sasrec-1" / "report.json").read_text())
    assert content["best"] == found.completed[0].number
    assert [one["validation_ndcg@10"] for one in content["trials"]] == values(found)
    assert not list((project.state / "checkpoints" / "tuning").glob("*"))

    more = tiny_study.search(project, trials=1)  # a second session of the same study
    assert (more.study.study_name, len(more.trials)) == ("sasrec-1", 5)
    assert more.study.user_attrs["run_id"] == parent.info.run_id


def test_the_test_set_is_not_read(project: Layout, tmp_path: Path) -> None:
    """Other test items, or no test part at all, change no figure."""
    other, without = (tiny_study.make(tmp_path / name) for name in ("other", "without"))
    path = other.sequences / "items.npy"
    items, test = np.load(path), np.load(other.sequences / "test.npy")
    asked = test[test >= 0]
    items[asked] = (items[asked] + 1) % tiny.ITEMS
    np.save(path, items)
    np.save(without.sequences / "test.npy", np.full_like(test, -1))
    expected = values(tiny_study.search(project))
    assert None not in expected
    assert values(tiny_study.search(other)) == expected
    assert values(tiny_study.search(without)) == expected


def test_the_best_is_written_and_comments_stay(project: Layout) -> None:
    found = tiny_study.search(project)
    text = project.params.read_text().replace("batch_size: 64\n", "batch_size: 64  # of a batch\n")
    project.params.write_text("# mine\n" + text)
    best = {**found.settings, "learning_rate": 0.00123, "batch_size": 128}
    new, lines = report.with_best(project.params.read_text(), best)
    assert "train.learning_rate: 0.004 -> 0.00123" in lines
    assert new.startswith("# mine\n")
    assert "batch_size: 128  # of a batch\n" in new
    project.params.write_text(new)  # what a search varies is no part of its study's basis
    again = tiny_study.search(project, trials=1)
    assert again.study.study_name == "sasrec-1"
    assert report.write_best(project, again)
    assert report.write_best(project, existing(project, None)) == []
    assert project.params.read_text().startswith("# mine\n")


PATIENT = {**tiny_study.TRAIN, "patience": 2}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda one: tiny.set_params(one.root, train=PATIENT), "settings"),
        (lambda one: tiny.set_params(one.root, tune={}), "settings"),
        (lambda one: tiny.take_in(one, tiny.log(days=9)), "data"),
    ],
    ids=["params", "space", "data"],
)
def test_a_study_made_otherwise_is_not_continued(
    project: Layout, change: Callable[[Layout], object], what: str
) -> None:
    first = tiny_study.search(project, trials=1)
    change(project)
    with pytest.raises(UserError, match=f"sasrec-1 was made with other {what}; begin a new one"):
        tiny_study.search(project)
    second = tiny_study.search(project, trials=1, new="changed")
    assert second.study.study_name == "sasrec-2"
    assert len(Report(first.study).trials) == 1
    assert tiny_study.search(project, trials=1, new="always").study.study_name == "sasrec-3"


def test_a_trial_that_diverges_fails_and_the_search_goes_on(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tiny_study.search(project, trials=1)
    fit = worker.fit_project
    broken: list[Exception] = [UserError("the loss is not finite"), MemoryError("9 GiB")]

    def fail(*given: Any, **more: Any) -> Any:
        if broken:
            raise broken.pop()
        return fit(*given, **more)

    monkeypatch.setattr(worker, "fit_project", fail)
    found = tiny_study.search(project, trials=3)
    assert [one.state.name for one in found.trials[:3]] == ["COMPLETE", "FAIL", "FAIL"]
    assert found.line(found.trials[1]).startswith("trial 1 failed: not enough memory (9 GiB)")
    assert found.line(found.trials[2]) == "trial 2 failed: the loss is not finite"
    assert found.trials[3].state != TrialState.FAIL
    run = server.connect(project).client.get_run(found.trials[2].user_attrs["run_id"])
    assert run.info.status == "FAILED"
    broken += [UserError("the loss is not finite")] * 9
    with pytest.raises(UserError, match="5 trials in a row failed; the last: the loss is not"):
        tiny_study.search(project, trials=8)


def test_a_full_disk_loses_nothing(
    project: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tiny_study.search(project, trials=1)

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x.pt")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", full)
        capsys.readouterr()
        assert worker.main(job(found, project, count=3)) == 2
    said = capsys.readouterr().err
    assert said.startswith("No space left on device at x.pt; free some disk space")
    assert said.count("\n") == 1
    again = tiny_study.search(project, trials=1)
    assert [one.state for one in again.study.trials][1] == TrialState.FAIL
    assert len(again.trials) == 2  # the interrupted one was repeated, and is counted once
    assert again.trials[1].user_attrs["run_id"] == again.study.trials[1].user_attrs["run_id"]


def test_the_budget_of_minutes_cuts_a_training_short(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tiny_study.search(project, trials=1)
    worker.work(job(found, project, until=0.0))
    assert len(found.trials) == 1  # too late to begin another
    late = iter([False, False, True, True])  # asked before a trial, and after each epoch
    monkeypatch.setattr(Job, "late", property(lambda self: next(late)))
    worker.work(job(found, project))
    cut = found.trials[1]
    assert (cut.state.name, cut.user_attrs["epochs"]) == ("COMPLETE", 2)
    assert cut.value == max(cut.intermediate_values.values())


def test_a_session_is_continued_until_it_has_ended(project: Layout) -> None:
    study = tiny_study.search(project, trials=2).study
    assert not studies.is_due(project, "sasrec", days=1)
    assert studies.is_due(project, "sasrec", days=1e-9)
    assert studies.is_due(project, "gru4rec", days=1)
    begun = studies.begin(study, None, 3)
    assert begun["count"] == 5
    assert studies.is_due(project, "sasrec", days=1)
    assert studies.begin(study, None, 3) == begun
    assert studies.begin(study, None, 4)["count"] == 6
    study.set_user_attr("spent", 100.0)
    assert studies.begin(study, 2.0, None)["until"] == 220.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes 0 is out of range"),
        (["--minutes", "nan"], "--minutes nan is out of range"),
        (["--trials", "0"], "--trials 0 is out of range"),
        (["--trials=-3"], "--trials -3 is out of range"),
        (["--jobs", "0"], "--jobs 0 is out of range"),
        (["markov"], "unknown model to tune 'markov'"),
        (["sasrek"], "did you mean 'sasrec'"),
        (["--best"], "there is no study of sasrec; run 'recctl tune sasrec'"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_bad_input_is_one_line(
    project: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("sys.argv", ["recctl", "tune", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def begin(barrier: Barrier, layout: Layout) -> None:
    barrier.wait()
    studies.storage(layout)


def test_processes_that_open_the_studies_at_once_make_them_once(tmp_path: Path) -> None:
    """Such as `recctl tune --best` in another terminal while the first search begins."""
    context = multiprocessing.get_context("fork")
    for number in range(3):
        with context.Manager() as manager, ProcessPoolExecutor(4, context) as pool:
            barrier, layout = manager.Barrier(4), Layout(tmp_path / str(number))
            for begun in [pool.submit(begin, barrier, layout) for _ in range(4)]:
                begun.result(120)
