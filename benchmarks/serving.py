"""Answers per second of `recctl serve`, beside `mlflow models serve` of the same version.

    python benchmarks/serving.py [--clients 32] [--seconds 60] [--swaps 10] [--no-mlflow]

Call it in a project with a champion. Clients keep their connection and ask again as soon as they
are answered, for a list of 10 after a history of 12 random items; they run in a process beside the
server, on the same processors. With --swaps the champion changes meanwhile: versions that served
are rolled back to and forth, which stays in the project's log.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from recctl.layout import Layout
from recctl.promotion import history
from recctl.sequences.vocabulary import Vocabulary

SECONDS_TO_START = 120


@dataclass(frozen=True)
class Load:
    """What a run of clients saw."""

    seconds: float
    times: list[float]
    failed: int
    versions: list[int]

    def row(self, name: str, memory: float) -> list[str]:
        cut = statistics.quantiles(self.times, n=100)
        figures = [f"{len(self.times) / self.seconds:,.0f}"]
        figures += [f"{1000 * cut[at]:.1f}" for at in (49, 98)]
        return [name, *figures, str(self.failed), f"{memory:,.0f}"]


def load(port: int, path: str, bodies: list[str], clients: int, seconds: float) -> Load:
    """Ask for so many seconds, by so many clients at once."""
    times: list[float] = []
    failed, versions, end = [0], [], time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body in itertools.cycle(bodies[number:] + bodies[:number]):
            if time.monotonic() > end:
                return
            start = time.perf_counter()
            try:
                connection.request("POST", path, body, {"content-type": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                failed[0] += 1
                connection.close()
                continue
            times.append(time.perf_counter() - start)
            failed[0] += answer.status != 200
            if path == "/recommend" and answer.status == 200:
                versions.append(json.loads(content)["version"])

    start = time.monotonic()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(time.monotonic() - start, times, failed[0], sorted(set(versions)))


@contextlib.contextmanager
def started(command: list[str], port: int, ready: str) -> Iterator[psutil.Process]:
    """A server, from its first good answer to the end of the block."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + SECONDS_TO_START
        while not _answers(port, ready):
            assert server.poll() is None, f"{command} ended"
            assert time.monotonic() < end, f"{command} does not answer"
            time.sleep(0.2)
        yield psutil.Process(server.pid)
    finally:
        for process in psutil.Process(server.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        server.kill()
        server.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def memory(server: psutil.Process) -> float:
    """MiB of a server and its children."""
    processes = [server, *server.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / 2**20


def swap(layout: Layout, times: int, seconds: float) -> None:
    """Let another version serve and back, evenly over the time."""
    registry = history.open_registry(layout)
    known = [version.number for version in registry.versions()]
    assert len(known) > 1, "--swaps needs two versions"
    recctl = str(Path(sys.executable).with_name("recctl"))
    for _ in range(times):
        began = time.monotonic()
        other = next(number for number in known if number != registry.aliases()["champion"])
        command = [recctl, "rollback", "--to", str(other), "--reason", "benchmarks/serving.py"]
        subprocess.run([*command, "--force", "--yes"], check=True, capture_output=True)
        time.sleep(max(0.0, seconds / times - (time.monotonic() - began)))


def free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--swaps", type=int, default=0)
    parser.add_argument("--mlflow", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    layout = Layout.find()
    items = Vocabulary.load(layout.sequences / "vocabulary.json").items
    rng = random.Random(1)
    histories = [[rng.choice(items) for _ in range(12)] for _ in range(200)]
    table = Table("server", "answers/s", "p50 ms", "p99 ms", "failed", "MiB")
    folder = Path(sys.executable).parent

    def measure(name: str, command: list[str], ready: str, path: str, bodies: list[str]) -> Load:
        port = free()
        with started([*command, "--port", str(port)], port, ready) as server:
            with ProcessPoolExecutor(1) as clients:
                clients.submit(load, port, path, bodies, 4, 3.0).result()  # warm
                asked = clients.submit(load, port, path, bodies, given.clients, given.seconds)
                if given.swaps and name == "recctl serve":
                    swap(layout, given.swaps, given.seconds)
                found = asked.result()
            table.add_row(*found.row(name, memory(server)))
        return found

    bodies = [json.dumps({"history": one}) for one in histories]
    ours = measure(
        "recctl serve", [str(folder / "recctl"), "serve"], "/readyz", "/recommend", bodies
    )
    if given.mlflow:
        registry = history.open_registry(layout)
        os.environ["MLFLOW_TRACKING_URI"] = registry.uri
        command = [str(folder / "mlflow"), "models", "serve", "-m"]
        command += [f"models:/{registry.name}@champion", "--env-manager", "local", "--workers", "2"]
        bodies = [json.dumps({"dataframe_records": [{"history": one}]}) for one in histories]
        measure("mlflow models serve", command, "/ping", "/invocations", bodies)
    console = Console()
    console.print(table)
    console.print(f"{given.clients} clients, {given.seconds:.0f} s, {os.cpu_count()} processors")
    if given.swaps:
        console.print(f"{given.swaps} swaps; answers by versions {ours.versions}")


if __name__ == "__main__":
    main()
