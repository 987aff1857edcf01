"""Answers per second of `recctl serve`, beside `mlflow models serve` of the same version.

    python benchmarks/serving.py [--clients 32] [--seconds 60] [--swaps 10] [--no-mlflow]

Call it in a project with a champion. Clients keep their connection and ask again as soon as they
are answered, for a list of 10 after a history of 12 random items; they run in a process beside the
server, on the same processors. With --swaps the champion changes meanwhile: versions that served
are rolled back to and forth, which stays in the project's log.
"""

import argparse
import asyncio
import contextlib
import functools
import http.client
import itertools
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from recctl.layout import Layout
from recctl.promotion import history
from recctl.sequences.vocabulary import Vocabulary

SECONDS_TO_START = 120


_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_VERSION = re.compile(rb'"version":(\d+)')


@dataclass
class Load:
    """What a run of clients saw."""

    seconds: float
    times: list[float]
    failed: int
    versions: set[int]

    def row(self, name: str, memory: float) -> list[str]:
        cut = statistics.quantiles(self.times, n=100)
        figures = [f"{len(self.times) / self.seconds:,.0f}"]
        figures += [f"{1000 * cut[at]:.1f}" for at in (49, 98)]
        return [name, *figures, str(self.failed), f"{memory:,.0f}"]


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered.

    A client of a library takes longer for a request than the service, on the same processors.
    """

    def __init__(self, requests: Iterator[bytes], end: float, found: "Load") -> None:
        self.requests, self.end, self.found = requests, end, found
        self.done = asyncio.get_running_loop().create_future()
        self.answer = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.answer.clear()
        self.asked = time.perf_counter()
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(_LENGTH.search(head)[1])  # type: ignore[index]
        if len(body) < length:
            return
        self.found.times.append(time.perf_counter() - self.asked)
        self.found.failed += not head.startswith(b"HTTP/1.1 200")
        version = _VERSION.search(body)
        if version is not None:
            self.found.versions.add(int(version[1]))
        if time.monotonic() < self.end:
            self.ask()
        else:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.found.failed += time.monotonic() < self.end
        self.done.set_result(None)


def load(port: int, path: str, bodies: list[str], clients: int, seconds: float) -> Load:
    """Ask for so many seconds, by so many clients at once."""
    requests = [
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n{body}".encode()
        for body in bodies
    ]
    found = Load(seconds, [], 0, set())

    async def ask() -> None:
        loop, end = asyncio.get_running_loop(), time.monotonic() + seconds
        asking = []
        for number in range(clients):
            own = itertools.cycle(requests[number:] + requests[:number])
            _, client = await loop.create_connection(
                functools.partial(_Client, own, end, found), "127.0.0.1", port
            )
            asking.append(client.done)
        await asyncio.gather(*asking)

    uvloop.run(ask())
    return found


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
        console.print(f"{given.swaps} swaps; answers by versions {sorted(ours.versions)}")


if __name__ == "__main__":
    main()
