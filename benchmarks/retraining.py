"""What the retrain flow adds to a bare `dvc repro` when nothing is to be trained.

    python benchmarks/retraining.py [--rounds 5]

In a copy of this project with a trained, promoted model and a warm Prefect server, alternately: a
bare `dvc repro`; the flow with nothing new; the flow through all its steps (the policy's number of
resamples changes, so the same model is decided upon again). Run `dvc repro` here first.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recctl.datasets import yaml_edit

ROOT = Path(__file__).parents[1]
SERVER = "http://127.0.0.1:{port}/api"
PORT = 4317
QUIET = {"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="recctl-bench-") as name:
        project = copy(Path(name) / "project")
        with server(Path(name)) as environment:
            flow = [sys.executable, "flows/retrain.py"]
            timed(flow, project, environment)  # the first decision
            bare = [sys.executable, "-m", "dvc", "repro"]
            found: dict[str, list[float]] = {}
            for number in range(rounds):
                found.setdefault("bare dvc repro", []).append(timed(bare, project, environment))
                found.setdefault("flow, nothing new", []).append(timed(flow, project, environment))
                change(project, 10_000 + number + 1)
                found.setdefault("flow, every step", []).append(timed(flow, project, environment))
    show(found)


def copy(target: Path) -> Path:
    """The project with its data, cache and artifacts, without its registry."""
    leave = shutil.ignore_patterns(
        ".venv", ".recctl", "mlflow.db*", "mlartifacts", "__pycache__", ".*_cache", "*.egg-info"
    )
    shutil.copytree(ROOT, target, ignore=leave, symlinks=True)
    return target


@contextmanager
def server(folder: Path) -> Iterator[dict[str, str]]:
    """A Prefect server, warm; gives back the environment by which flows find it."""
    address = SERVER.format(port=PORT)
    environment = {
        **{name: value for name, value in os.environ.items() if "PREFECT" not in name},
        **QUIET,
        "PREFECT_HOME": str(folder / "home"),
        "PYTHONPATH": str(folder / "project" / "src"),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(PORT)]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            wait(address)
            yield {**environment, "PREFECT_API_URL": address}
        finally:
            os.killpg(process.pid, 15)


def wait(address: str) -> None:
    import requests

    for _ in range(600):
        try:
            if requests.get(f"{address}/health", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SystemExit("Prefect's server did not start")


def change(project: Path, resamples: int) -> None:
    path = project / "params.yaml"
    text = yaml_edit.put(path.read_text(), ("promotion", "resamples"), resamples)
    path.write_text(text)


def timed(command: list[str], project: Path, environment: dict[str, str]) -> float:
    """Wall seconds of a command in the project, its interpreter's start included."""
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - began


def show(found: dict[str, list[float]]) -> None:
    bare = statistics.median(found["bare dvc repro"])
    print(f"{'':20} {'median':>8} {'slowest':>8} {'over bare':>10}   seconds")
    for name, times in found.items():
        median = statistics.median(times)
        print(f"{name:20} {median:8.1f} {max(times):8.1f} {median - bare:10.1f}")


if __name__ == "__main__":
    main()
