"""`recctl tune` with processes that are killed: nothing is lost, and the same command goes on."""

import multiprocessing
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_study
from optuna.trial import FrozenTrial, TrialState

import programs
from lives import lives, started_as
from recctl.cli import main
from recctl.layout import Layout
from recctl.tracking import server
from recctl.tuning import studies

TRAIN: dict[str, Any] = {"item_vectors": "random"}
"""A trial's process then need not import scikit-learn."""


class Tune:
    """`recctl tune` in a process forked from this one, which has imported the libraries."""

    def __init__(self, layout: Layout, *arguments: str) -> None:
        self._said = layout.root / "said.txt"
        self._process = multiprocessing.get_context("fork").Process(
            target=self._run, args=(layout.root, arguments)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def _run(self, root: Path, arguments: tuple[str, ...]) -> None:
        os.chdir(root)
        environment = programs.environment()
        os.environ.clear()
        os.environ.update(environment)
        with self._said.open("w") as out:
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            sys.stdout = sys.stderr = out
            sys.argv = ["recctl", "tune", *arguments]
            main()

    def end(self) -> tuple[int, str]:
        """Wait for its end: its exit code, and what it printed."""
        self._process.join(500)
        assert self._process.exitcode is not None
        return self._process.exitcode, self._said.read_text()


def running(layout: Layout, after: int = -1) -> FrozenTrial:
    """A trial with a number above `after`, once it has validated."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        study = studies.newest(layout, "sasrec")
        for trial in study.trials if study else ():
            under_way = trial.state == TrialState.RUNNING and trial.intermediate_values
            if under_way and trial.number > after:
                return trial
        time.sleep(0.2)
    raise AssertionError("no trial began to validate")


@pytest.mark.slow
def test_a_killed_search_and_a_killed_trial(tmp_path: Path) -> None:
    layout = tiny_study.make(tmp_path / "project", max_epochs=100, patience=100, **TRAIN)
    first = Tune(layout, "--trials", "2")
    killed = running(layout)
    [worker] = started_as("recctl.tuning.worker", first.pid)
    os.kill(first.pid, signal.SIGKILL)
    assert first.end()[0] == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while lives(worker.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not lives(worker.pid)

    params = layout.params.read_text()
    second = Tune(layout, "--trials", "2")
    again = running(layout, after=killed.number)
    assert again.params == killed.params
    assert again.user_attrs["run_id"] == killed.user_attrs["run_id"]
    [worker] = started_as("recctl.tuning.worker", second.pid)
    worker.kill()  # as the kernel does when there is no memory left
    code, said = second.end()
    assert code == 0, said
    assert "trials that were killed and continue from their checkpoints: 1" in said
    assert re.search(r"trial \d failed: its process was killed, perhaps out of memory", said)
    assert layout.params.read_text() == params

    study = studies.newest(layout, "sasrec")
    assert study is not None
    states = [one.state for one in studies.begun(study)]
    assert states == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.user_attrs["session"]["ended"]
    tracking = server.connect(layout)
    runs = tracking.client.search_runs([tracking.experiment_id])
    statuses = sorted(one.info.status for one in runs)
    assert statuses == ["FAILED", "FINISHED", "FINISHED"]  # the trials' and the study's


@pytest.mark.slow
def test_trials_side_by_side_are_as_many_as_asked_for(tmp_path: Path) -> None:
    layout = tiny_study.make(tmp_path / "project", max_epochs=2, **TRAIN)
    process = Tune(layout, "--trials", "3", "--jobs", "2", "--write")
    code, said = process.end()
    assert code == 0, said
    study = studies.newest(layout, "sasrec")
    assert study is not None
    assert [one.number for one in studies.begun(study)] == [0, 1, 2]
    assert {one.user_attrs["turn"] for one in study.trials} == {0, 1}
