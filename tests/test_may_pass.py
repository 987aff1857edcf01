"""Which failures of servers are worth another try, and which are Unknown without."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from recctl.datasets.download import download
from recctl.errors import Gone, MayPass, Unknown, UserError
from recctl.layout import Layout
from recctl.tracking import failures, server


@contextmanager
def answering(status: int, body: bytes = b"") -> Iterator[str]:
    """The address of a server that answers everything so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_HEAD = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def kind(call: Callable[[], object]) -> type[UserError]:
    with pytest.raises(UserError) as failed:
        call()
    assert "\n" not in str(failed.value)
    return type(failed.value)


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type[UserError]]:
    """What connecting to MLflow at an address raises."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")

    def connect(uri: str) -> type[UserError]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return kind(lambda: server.connect(Layout(tmp_path)))

    return connect


Connect = Callable[[str], type[UserError]]


def test_mlflow_that_is_not_there(connect: Connect) -> None:
    assert connect("http://127.0.0.1:9") is MayPass


def test_a_database_server_that_is_not_there(connect: Connect) -> None:
    assert connect("postgresql://ann:secret@127.0.0.1:9/mlflow") is MayPass


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, b"", MayPass),
        (502, b"<html>Bad Gateway</html>", MayPass),
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "oops"}', MayPass),
        (503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}', MayPass),
        (429, b"", MayPass),
        (401, b"", Unknown),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}', Unknown),
        (404, b"", Unknown),
        (400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}', Unknown),
    ],
)
def test_what_mlflow_answers(
    connect: Connect, status: int, body: bytes, expected: type[UserError]
) -> None:
    with answering(status, body) as uri:
        assert connect(uri) is expected


def test_a_locked_database(tmp_path: Path) -> None:
    from sqlalchemy import create_engine, text

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None) as other:
        other.execute("create table t (a)")
        other.execute("begin exclusive")

        def ask() -> None:
            engine = create_engine(uri, connect_args={"timeout": 0.1})
            with failures.plainly(uri), engine.connect() as connection:
                connection.execute(text("select * from t"))

        assert kind(ask) is MayPass


def test_a_damaged_database(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database " * 100)
    assert connect(f"sqlite:///{tmp_path / 'mlflow.db'}") is Unknown


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, MayPass) for status in (408, 429, 500, 502, 503, 504, 507, 599)),
        *((status, Gone) for status in (404, 410)),
        *((status, Unknown) for status in (400, 401, 403, 407, 451)),
    ],
)
def test_a_download(tmp_path: Path, status: int, expected: type[UserError]) -> None:
    with answering(status) as address:
        assert fetch(f"{address}/log.csv", tmp_path) is expected


def test_a_download_from_nobody(tmp_path: Path) -> None:
    assert fetch("http://127.0.0.1:9/log.csv", tmp_path) is MayPass
    assert fetch("nonsense://127.0.0.1/log.csv", tmp_path) is UserError


def fetch(address: str, folder: Path) -> type[UserError]:
    return kind(
        lambda: download(
            address,
            folder / "log.csv",
            progress=lambda here, total: None,
            say=lambda line: None,
            pause=0,
        )
    )
