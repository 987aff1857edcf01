"""`recctl tune` with processes that are killed: nothing is lost, and the same command goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tiny_study
from optuna.trial import FrozenTrial, TrialState

import programs
from lives import lives
from recctl.layout import Layout
from recctl.tracking import server
from recctl.tuning import studies

RECCTL = Path(sys.executable).with_name("recctl")


def tune(layout: Layout, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [RECCTL, "tune", *arguments], cwd=layout.root, env=programs.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


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


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if one.cmdline()[1:3] == ["-m", "recctl.tuning.worker"]
    ]


@pytest.mark.slow
def test_a_killed_search_and_a_killed_trial(tmp_path: Path) -> None:
    layout = tiny_study.make(tmp_path / "project", max_epochs=100, patience=100)
    first = tune(layout, "--trials", "2")
    killed = running(layout)
    [worker] = workers(first)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while lives(worker.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not lives(worker.pid)

    params = layout.params.read_text()
    second = tune(layout, "--trials", "2")
    again = running(layout, after=killed.number)
    assert again.params == killed.params
    assert again.user_attrs["run_id"] == killed.user_attrs["run_id"]
    [worker] = workers(second)
    worker.kill()  # as the kernel does when there is no memory left
    said, _ = second.communicate(timeout=500)
    assert second.returncode == 0, said
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
    layout = tiny_study.make(tmp_path / "project", max_epochs=2)
    process = tune(layout, "--trials", "3", "--jobs", "2", "--write")
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    study = studies.newest(layout, "sasrec")
    assert study is not None
    assert [one.number for one in studies.begun(study)] == [0, 1, 2]
    assert {one.user_attrs["turn"] for one in study.trials} == {0, 1}
