"""`recctl up` and `recctl down` as a user calls them, with the real services."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import scheduled_project

RECCTL = Path(sys.executable).with_name("recctl")

pytestmark = pytest.mark.slow


def recctl(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    names = ("PREFECT", "MLFLOW_TRACKING_URI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return subprocess.run(
        [RECCTL, *arguments], cwd=project, env=kept, capture_output=True, text=True, check=False
    )


def states(project: Path) -> dict[str, str]:
    found = json.loads(recctl(project, "status", "--json").stdout)
    return {state["name"]: state["state"] for state in found}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    project = scheduled_project.make(tmp_path / "project")
    yield project
    recctl(project, "down")


def left_behind(project: Path) -> list[list[str]]:
    """Commands of living processes that have to do with the project: folder, environment, words."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            told = [process.cwd(), *command, *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(project) in text for text in told):
            found.append(command)
    return found


def test_up_starts_a_killed_worker_again_and_down_leaves_no_process(project: Path) -> None:
    done = recctl(project, "up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Started: prefect, mlflow, worker." in done.stdout
    assert "prefect deployment run 'retrain/nightly'" in done.stdout
    assert states(project) == {"prefect": "up", "mlflow": "up", "worker": "up"}
    assert len(left_behind(project)) >= 3

    listed = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "ls"],
        cwd=project, env={**os.environ, "PREFECT_HOME": str(project / "elsewhere")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "retrain/nightly" in listed.stdout, listed.stderr

    worker = json.loads((project / ".recctl" / "services" / "worker.json").read_text())
    os.kill(worker["pid"], signal.SIGKILL)
    assert states(project) == {"prefect": "up", "mlflow": "up", "worker": "dead"}

    done = recctl(project, "up")
    assert "Started: worker." in done.stdout, done.stdout + done.stderr
    assert states(project) == {"prefect": "up", "mlflow": "up", "worker": "up"}

    done = recctl(project, "down")
    assert (done.returncode, done.stdout) == (0, "Stopped: worker, mlflow, prefect.\n")
    assert left_behind(project) == []
    assert not (project / "prefect.toml").exists()
    assert recctl(project, "down").stdout == "Nothing was up.\n"
