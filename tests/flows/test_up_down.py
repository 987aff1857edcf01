"""`recctl up` and `recctl down` as a user calls them, with the real services."""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import scheduled_project

from lives import wait_for
from recctl.services import processes, server

RECCTL = Path(sys.executable).with_name("recctl")

pytestmark = pytest.mark.slow


def recctl(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    names = ("PREFECT", "MLFLOW_TRACKING_URI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return subprocess.run(
        [RECCTL, *arguments], cwd=project, env={**kept, "PREFECT_WORKER_QUERY_SECONDS": "1"},
        umask=0o022, capture_output=True, text=True, check=False,
    )  # fmt: skip


def checks(project: Path) -> dict[str, Any]:
    found = json.loads(recctl(project, "status", "--json").stdout)
    return {check["name"]: check for check in found["checks"]}


def states(found: dict[str, Any]) -> dict[str, str]:
    return {name: found[name]["values"]["state"] for name in processes.NAMES}


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
            texts = [process.cwd(), *command, *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(project) in text for text in texts):
            found.append(command)
    return found


def test_up_starts_what_was_killed_again_and_down_leaves_no_process(project: Path) -> None:
    done = recctl(project, "up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Started: prefect, mlflow, serve, worker." in done.stdout
    assert "prefect deployment run 'retrain/nightly'" in done.stdout
    found = checks(project)  # Prefect's server answers to the key
    assert states(found) == dict.fromkeys(processes.NAMES, "up")
    assert len(left_behind(project)) >= 4
    assert ask(address(project, "serve")) == 200
    assert (found["serve"]["values"]["version"], found["serve"]["state"]) == (None, "warning")
    assert found["schedule"]["found"].startswith("next 20")
    assert found["approval"]["found"] == "nothing waits for a person"
    assert "no run waits for approval" in recctl(project, "approve").stderr

    listed = subprocess.run(
        [sys.executable, "-m", "prefect", "deployment", "ls"],
        cwd=project, env={**os.environ, "PREFECT_HOME": str(project / "elsewhere")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "retrain/nightly" in listed.stdout, listed.stderr

    key = (project / ".recctl" / "services" / "key").read_text().strip()
    assert key not in listed.stdout + done.stdout + done.stderr
    the_servers_answer_to_the_key_alone(project, key)
    a_foreign_deployment_is_refused(project, key)
    what_lies_there_is_the_users_alone(project, key)

    for name in ("serve", "worker"):
        os.kill(found[name]["values"]["pid"], signal.SIGKILL)
    dead = {"prefect": "up", "mlflow": "up", "serve": "dead", "worker": "dead"}
    assert states(checks(project)) == dead

    done = recctl(project, "up")
    assert "Started: serve, worker." in done.stdout, done.stdout + done.stderr
    assert states(checks(project)) == dict.fromkeys(processes.NAMES, "up")

    done = recctl(project, "down")
    assert (done.returncode, done.stdout) == (0, "Stopped: worker, serve, mlflow, prefect.\n")
    assert left_behind(project) == []
    assert not (project / "prefect.toml").exists()
    assert recctl(project, "down").stdout == "Nothing was up.\n"


def ask(
    address: str, key: str = "", body: Any = None, headers: dict[str, str] | None = None
) -> int:
    """The status of an answer; a `body` makes it a POST."""
    data = None if body is None else json.dumps(body).encode()
    header = {"Content-Type": "application/json", **(headers or {})}
    if key:
        header["Authorization"] = f"Basic {base64.b64encode(key.encode()).decode()}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, data, header)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def address(project: Path, name: str) -> str:
    state = json.loads((project / ".recctl" / "services" / f"{name}.json").read_text())
    return str(state["address"])


def the_servers_answer_to_the_key_alone(project: Path, key: str) -> None:
    rebound = {"Host": "evil.example"}
    page = {"Origin": "http://evil.example"}
    prefect = f"{address(project, 'prefect')}/api/deployments/filter"
    mlflow = f"{address(project, 'mlflow')}/api/2.0/mlflow/experiments/search"
    for asked, body in ((prefect, {}), (mlflow, {"max_results": 1})):
        assert ask(asked, body=body) == 401
        assert ask(asked, key + "x", body) == 401
        assert ask(asked, key, body) == 200
        assert ask(asked, key, body, rebound) == 400
        assert ask(asked, key, body, page) == 403
    for path in ("/", "/health", "/graphql", "/ajax-api/2.0/mlflow/get-artifact"):
        assert ask(f"{address(project, 'mlflow')}{path}") == 401
    ours = family(project)
    for service in psutil.net_connections("tcp"):
        if service.status == "LISTEN" and service.pid in ours:
            assert service.laddr.ip == "127.0.0.1"


def family(project: Path) -> list[int]:
    """The services and what they have started."""
    pids = [check["values"].get("pid") for check in checks(project).values()]
    first = [psutil.Process(pid) for pid in pids if pid]
    return [one.pid for process in first for one in (process, *process.children(recursive=True))]


def a_foreign_deployment_is_refused(project: Path, key: str) -> None:
    api = f"{address(project, 'prefect')}/api"
    ours = server.ask(f"{api}/deployments/name/retrain/nightly", key=key)
    script = f"touch {project / 'owned'}"
    foreign = {
        "name": "foreign",
        "flow_id": ours["flow_id"],
        "work_pool_name": "recctl",
        "entrypoint": ours["entrypoint"],
        "pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": script}}],
    }
    made = server.ask(f"{api}/deployments/", foreign, key)["id"]
    scheduled = {"state": {"type": "SCHEDULED"}}
    run = server.ask(f"{api}/deployments/{made}/create_flow_run", scheduled, key)["id"]

    def ended() -> Any:
        state = server.ask(f"{api}/flow_runs/{run}", key=key)["state"]
        return state if state["type"] not in ("SCHEDULED", "PENDING", "RUNNING") else None

    state = wait_for("the worker to take the run", ended)
    assert (state["type"], "Refused: its entrypoint" in state["message"]) == ("CRASHED", True)
    assert not (project / "owned").exists()


def what_lies_there_is_the_users_alone(project: Path, key: str) -> None:
    written = [project / "prefect.toml", project / "mlflow.db", *(project / ".recctl").rglob("*")]
    assert {path for path in written if path.stat().st_mode & 0o077} == set()
    secret = key.partition(":")[2]
    assert [log for log in (project / ".recctl").rglob("*.log*") if secret in log.read_text()] == []
    for process in psutil.process_iter():
        try:
            assert secret not in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
