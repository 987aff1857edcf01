"""The process: it starts, follows, answers all the while, and ends at SIGTERM."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import requests
import tiny_project as tiny

import ports
from commands import runner
from lives import wait_for
from recctl import journal
from recctl.layout import Layout


@pytest.fixture
def project(tmp_path: Path, quick_decisions: None) -> Layout:
    layout = tiny.make(tmp_path / "project")
    tiny.set_params(layout.root, serve={"exposures": 1.0})
    tiny.promote(layout, 1e6)
    return layout


@pytest.fixture
def address(project: Layout) -> Iterator[str]:
    port = ports.free()
    command = [Path(sys.executable).with_name("recctl"), "serve", "--port", str(port)]
    command += ["--log", "requests.log"]
    log = project.root / "serve.log"
    with log.open("w") as output, subprocess.Popen(command, cwd=project.root, stderr=output) as one:
        try:
            wait_for("the service", lambda: "answers" in log.read_text() or one.poll() is not None)
            assert one.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
            one.send_signal(signal.SIGTERM)
            assert one.wait(30) == -signal.SIGTERM  # uvicorn ends its work, then ends by the signal
        finally:
            one.kill()
    assert "Traceback" not in log.read_text()
    assert list(project.served.glob("*.jsonl")) == []  # all is in whole files
    happened, shown = (kept(one) for one in (journal.events(project), journal.exposures(project)))
    assert happened == shown


def kept(one: journal.Journal) -> list[str]:
    """The requests that its files and its logs name."""
    place = 4 if one.folder.name == "events" else 0
    tables = [pq.read_table(path)["request"].to_pylist() for path in one.files()]
    return sorted([*chain(*tables), *(row[place] for row in one.waiting())])


@pytest.mark.slow
def test_every_request_is_answered_while_champions_change(project: Layout, address: str) -> None:
    answers: list[tuple[int, int]] = []
    told: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                found = session.post(f"{address}/recommend", json={"history": ["i1"]}, timeout=30)
                answers.append((found.status_code, found.json().get("version")))
                event = {"user": "u1", "item": "i2", "request": found.json().get("request")}
                if session.post(f"{address}/events", json=event, timeout=30).status_code == 202:
                    told.append(event["request"])

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        tiny.promote(project, 10.0)
        wait_for("version 2", lambda: (200, 2) in answers[-3:])
        tiny.rollback(project)
        wait_for("version 1", lambda: (200, 1) in answers[-3:])
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert {status for status, _ in answers} == {200}
    assert {version for _, version in answers} == {1, 2}
    assert len(told) == len(answers)
    assert kept(journal.events(project)) == sorted(told)  # what is on disk before SIGTERM
    log = project.root / "requests.log"  # a line is written after its answer
    wait_for("the log", lambda: log.read_text().count("\n") == 2 * len(answers))
    counted = Counter(json.loads(line)["status"] for line in log.read_text().splitlines())
    assert counted == {200: len(answers), 202: len(answers)}


@pytest.mark.slow
def test_several_processes_are_one_service(project: Layout) -> None:
    port = ports.free()
    command = [Path(sys.executable).with_name("recctl"), "serve", "--port", str(port)]
    command += ["--workers", "2", "--log", "requests.log"]
    address, output, sent = f"http://127.0.0.1:{port}", project.root / "output", [0]

    def known(number: int) -> bool:
        """Whether all answers, over new connections that either process may take, know the user."""
        asked = {"user": "new", "k": 3}
        found = [
            requests.post(f"{address}/recommend", json=asked, timeout=30).json()
            for _ in range(number)
        ]
        sent[0] += len(found)
        return not any(one["newcomer"] for one in found)

    with output.open("w") as file, subprocess.Popen(command, cwd=project.root, stderr=file) as one:
        try:
            wait_for("both", lambda: output.read_text().count("version 1 answers") == 2)
            event = {"user": "new", "item": "i2"}
            assert requests.post(f"{address}/events", json=event, timeout=30).status_code == 202
            wait_for("the event in both", lambda: known(20))
            figures = requests.get(f"{address}/metrics", timeout=30).text
            counted = re.search('path="/recommend",status="200"} (.*)', figures)
            assert counted is not None
            assert float(counted[1]) == sent[0]
            assert figures.count("recctl_version 1.0") == figures.count("TYPE recctl_version") == 1
            log = project.root / "requests.log"
            wait_for("the log", lambda: log.read_text().count("/recommend") == sent[0])
            children = psutil.Process(one.pid).children(recursive=True)
            one.kill()
            wait_for("the end of all", lambda: not any(child.is_running() for child in children))
        finally:
            one.kill()
    assert "Traceback" not in output.read_text()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--port", "PORT"], "cannot listen on 127.0.0.1:PORT (address already in use); give"),
        (["--host", "0.0.0.0"], "on 0.0.0.0 other machines could ask the service, and there is no"),
        (["--host", "no such host"], "cannot listen on no such host:8000 ("),
        (["--port", "0"], "invalid value for '--port'"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    project: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    error: str,
) -> None:
    monkeypatch.delenv("RECCTL_SERVE_TOKEN", raising=False)
    if "no such host" in arguments:
        monkeypatch.setenv("RECCTL_SERVE_TOKEN", "s3cret")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [one.replace("PORT", port) for one in arguments]
        done = runner(monkeypatch, capfd)(project.root, "serve", *given)
    assert done.code == 2
    assert error.replace("PORT", port) in done.err
    assert done.err.count("\n") == 1
