"""Registries for tests: a sqlite file, an `mlflow server`; and models to put in."""

import contextlib
import http.client
import http.server
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import databases
import ports
from lives import wait_for
from recctl.layout import Layout
from recctl.promotion.ledger.aliases import Serving, serving
from recctl.promotion.ledger.recovery import recover
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.versions import Version

NAME = "recommender"


@contextlib.contextmanager
def tracked_at(uri: str) -> Iterator[None]:
    """MLFLOW_TRACKING_URI in this block, and no other setting of MLflow that matters here."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        os.environ.update(before)


def connect(root: Path, uri: str, name: str = NAME) -> Registry:
    """The registry at an address, for a project at `root`."""
    with tracked_at(uri):
        return Registry.connect(Layout(root), name)


def fresh_sqlite(folder: Path) -> str:
    """The address of an initialised, empty database."""
    return f"sqlite:///{databases.mlflow(folder)}"


@contextlib.contextmanager
def mlflow_server(folder: Path, workers: int = 2) -> Iterator[str]:
    """The address of an `mlflow server` on this machine, as long as the block lasts."""
    store = fresh_sqlite(folder)
    port = ports.free()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--artifacts-destination", (folder / "served").as_uri(), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", str(workers)]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else five more processes start
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for("the server", lambda: _healthy(port, process, folder / "server.log"))
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _healthy(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with contextlib.suppress(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
        return True
    return False


class _Forward(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=30)  # type: ignore[attr-defined]
        upstream.request(self.command, self.path, self.rfile.read(size), dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        if self.server.lose(self.command, self.path):  # type: ignore[attr-defined]
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def losing_answers(uri: str, lose: Callable[[str, str], bool]) -> Iterator[str]:
    """A proxy before the server at `uri` that carries out every request; where `lose` says so
    (of method and path) the answer is lost."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Forward)
    server.upstream, server.lose = int(uri.rpartition(":")[2]), lose  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def add_model(registry: Registry, root: Path, word: str) -> Version:
    """Register a folder with one small file."""
    folder = root / "models" / word
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(f'"{word}"')
    return registry.register(
        folder, digest=f"digest of {word}", tags={"recctl.model": word}, run_name=f"r-{word}"
    )


def promotion(now: Serving, to: int, **more: Any) -> dict[str, Any]:
    """The body of a decision that makes `to` the champion; only what the log itself reads."""
    return {
        "schema": 1,
        "previous": now.head,
        "kind": "promotion",
        "verdict": "promoted",
        "saw": now.aliases,
        "sets": {"champion": to, "previous": now.aliases["champion"], "best": to},
        **more,
    }


def sound(number: int) -> None:
    """A check that finds every version fit to serve."""


def recovered(registry: Registry) -> tuple[Serving, list[str]]:
    """The registry after `recover`, and what that said."""
    said: list[str] = []
    return recover(registry, sound, said.append, serving(registry)), said


def picture(registry: Registry) -> Any:
    """All that can be seen of aliases and log."""
    return registry.shown(), registry.entries()
