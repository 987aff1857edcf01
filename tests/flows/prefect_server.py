"""A real Prefect server for tests, and workers on it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lives import wait_for

QUICK = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
    "PREFECT_SERVER_LOGGING_LEVEL": "INFO",
    "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "5",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Nothing waits longer than it must: the worker's look for runs, a run's for its turn. The server
plans few runs ahead."""


@dataclass(frozen=True)
class PrefectServer:
    """A Prefect server on this machine; `api` is its address."""

    api: str
    home: Path

    def environment(self) -> dict[str, str]:
        """What makes `prefect` talk to this server and to nothing else."""
        kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
        return {**kept, **QUICK, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.api}

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """What the API answers; a `body` makes it a POST."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.api}{path}", data, headers, method=method)
        answer = wait_for("an answer", lambda: self._answer(request))
        return json.loads(answer[0]) if answer[0] else None

    def _answer(self, request: urllib.request.Request) -> list[bytes]:
        """The answer as the one element of a list, none while the server says that it is busy."""
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return [answer.read()]
        except urllib.error.HTTPError as error:
            if error.code != 503:  # what Prefect says when sqlite is locked for too long
                raise
            return []

    def prefect(self, folder: Path, *arguments: str) -> str:
        """What a `prefect` command prints in a folder; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            cwd=folder,
            env={**self.environment(), "PWD": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by its full name, FLOW/NAME."""
        found: dict[str, Any] = self.ask(f"/deployments/name/{name}")
        return found

    def runs(self, name: str, **wanted: Any) -> list[dict[str, Any]]:
        """The runs of a deployment whose fields are as wanted."""
        body = {"deployments": {"id": {"any_": [self.deployment(name)["id"]]}}}
        found = self.ask("/flow_runs/filter", body)
        return [run for run in found if all(run[key] == value for key, value in wanted.items())]

    def run(self, name: str, **parameters: Any) -> str:
        """Start a run of a deployment, as `prefect deployment run` does; gives back its id."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        identifier = self.deployment(name)["id"]
        return str(self.ask(f"/deployments/{identifier}/create_flow_run", body)["id"])

    def run_in_state(self, name: str, state: dict[str, Any]) -> str:
        """A run of a deployment that is in a state without any process, as its record says."""
        identifier = self.deployment(name)["id"]
        body = {"state": {"type": "PENDING"}}
        run = str(self.ask(f"/deployments/{identifier}/create_flow_run", body)["id"])
        self.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
        return run

    def state(self, run: str) -> str:
        """The name of a run's state, such as `Completed`."""
        return str(self.ask(f"/flow_runs/{run}")["state"]["name"])

    @contextlib.contextmanager
    def worker(self, folder: Path, pool: str, log: Path) -> Iterator[None]:
        """A process worker that was started in a folder, as long as the block lasts."""
        command = ["worker", "start", "--pool", pool, "--type", "process", "--limit", "3"]
        with process(command, folder, self.environment(), log):
            wait_for("a worker", lambda: self._working(pool))
            try:
                yield
            finally:
                self._end_flows()

    def _end_flows(self) -> None:
        """Kill what a failed test left running: flows have their own sessions."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                its = process.environ()
                if its.get("PREFECT_API_URL") == self.api and "PREFECT__FLOW_RUN_ID" in its:
                    process.kill()

    def _working(self, pool: str) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask(f"/work_pools/{pool}/workers/filter", {}))
        return False


@contextlib.contextmanager
def running(server: PrefectServer, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Prefect's server with all its services at this address, as long as the block lasts."""
    port = server.api.rpartition(":")[2].partition("/")[0]
    command = ["server", "start", "--host", "127.0.0.1", "--port", port]

    def healthy() -> bool:
        with contextlib.suppress(OSError):
            return server.ask("/health") is True
        return False

    with process(command, folder, server.environment(), folder / "server.log") as started:
        wait_for("Prefect's server", healthy)
        yield started


@contextlib.contextmanager
def process(
    arguments: list[str], folder: Path, environment: dict[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """A `prefect` command in a separate process group, which is ended with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=folder,
            env={**environment, "PWD": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
