"""The files of runs: what counts as absent, and what as unread."""

import errno
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from recctl.errors import Gone, MayPass, Unknown, UserError
from recctl.promotion.ledger import requests as module
from recctl.promotion.ledger.registry import Registry
from recctl.tracking import artifacts, failures
from recctl.tracking.artifacts import Artifacts
from recctl.tracking.server import Tracking

RUN = "0" * 32
HELD = {"model/a.json": b"one", "model/deep/b.json": b"two"}
PAGE = b"<html>please log in</html>"
NONE = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}).encode()
TOP = f"/1/{RUN}/artifacts/"

Answer = tuple[int, bytes]


@contextmanager
def server(held: dict[str, bytes], wrong: dict[str, Answer]) -> Iterator[str]:
    """MLflow's artifact server with the files of one run; `wrong` are other answers, by path."""
    whole = {f"1/{RUN}/artifacts/{name}": content for name, content in held.items()}

    def answer(path: str) -> Answer:
        parts = urlsplit(path)
        _, _, name = parts.path.partition("/mlflow-artifacts/artifacts")
        asked = name.strip("/") or parse_qs(parts.query).get("path", [""])[0]
        key = asked.removeprefix(f"1/{RUN}/artifacts/")
        kind = "file" if name else "list"
        if f"{kind} {key}" in wrong:
            return wrong[f"{kind} {key}"]
        if name:
            return (200, whole[asked]) if asked in whole else (404, NONE)
        below = [one.removeprefix(f"{asked}/") for one in whole if one.startswith(f"{asked}/")]
        files = [{"path": one, "is_dir": False, "file_size": len(whole[f"{asked}/{one}"])}
                 for one in below if "/" not in one]  # fmt: skip
        folders = sorted({one.partition("/")[0] for one in below if "/" in one})
        files += [{"path": one, "is_dir": True} for one in folders]  # type: ignore[dict-item]
        return 200, json.dumps({"files": files}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(module, "SECONDS_OF_PAUSE", 0.0)


def brought(uri: str, to: Path, names: list[str]) -> Path:
    """What a registry brings of the run's folder `model`."""
    client: Any = None
    one = Registry(Tracking(client, uri, "e", "1"), "m")
    return one._copy(
        Artifacts(RUN, f"mlflow-artifacts:/1/{RUN}/artifacts", uri), "model", to, names
    )


NAMES = [name.removeprefix("model/") for name in HELD]


def test_what_is_there_comes_whole(tmp_path: Path) -> None:
    with server(HELD, {}) as uri:
        folder = brought(uri, tmp_path, NAMES)
    assert {name: (tmp_path / name).read_bytes() for name in HELD} == HELD
    assert folder == tmp_path / "model"


def test_what_the_store_says_is_not_there_is_gone(tmp_path: Path) -> None:
    with server({"other/x": b"1"}, {}) as uri, pytest.raises(Gone, match="holds nothing"):
        brought(uri, tmp_path, NAMES)


def test_a_file_that_is_not_there_leaves_the_others(tmp_path: Path) -> None:
    """Whoever holds it against its digests sees that it is missing."""
    with server({"model/a.json": b"one"}, {}) as uri:
        folder = brought(uri, tmp_path, NAMES)
    assert [path.name for path in folder.iterdir()] == ["a.json"]


WRONG: list[tuple[int, bytes, type[UserError]]] = [
    (401, b"", Unknown),
    (403, b'{"error_code": "PERMISSION_DENIED"}', Unknown),
    (404, PAGE, Unknown),
    (404, b"{}", Unknown),
    (408, PAGE, MayPass),
    (429, PAGE, MayPass),
    (500, PAGE, MayPass),
    (503, PAGE, MayPass),
    (200, PAGE, MayPass),
    (200, b"", MayPass),
    (200, b"[]", MayPass),
    (200, b'{"files": [{}]}', MayPass),
    (200, b'{"files": [{"path": "../../x", "is_dir": false}]}', Unknown),
]


@pytest.mark.parametrize("where", ["list model", "list model/deep", "file model/a.json"])
@pytest.mark.parametrize(("status", "body", "kind"), WRONG)
def test_any_other_answer_is_unknown(
    tmp_path: Path, where: str, status: int, body: bytes, kind: type[UserError]
) -> None:
    with server(HELD, {where: (status, body)}) as uri, pytest.raises(Unknown) as caught:
        brought(uri, tmp_path, NAMES)
    if where != "file model/a.json":
        assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("where", ["list model", "list model/deep"])
def test_a_list_without_what_the_store_holds_is_unknown(tmp_path: Path, where: str) -> None:
    with server(HELD, {where: (200, b"{}")}) as uri, pytest.raises(MayPass, match="and holds it"):
        brought(uri, tmp_path, NAMES)


@pytest.mark.parametrize("answer", [(404, PAGE), (503, PAGE), (200, PAGE), (403, b"")])
def test_that_a_file_is_absent_is_not_taken_from_others(tmp_path: Path, answer: Answer) -> None:
    """The list lacks it, and the store was asked for it and did not say so."""
    with server({"other/x": b"1"}, {"file model/a.json": answer}) as uri, pytest.raises(Unknown):
        brought(uri, tmp_path, NAMES)


def test_a_store_that_says_no_to_everything_is_unknown(tmp_path: Path) -> None:
    with server({}, {}) as uri, pytest.raises(Unknown, match="is empty or not there"):
        brought(uri, tmp_path, NAMES)


def test_a_server_without_room_for_the_copy_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "model/a.json", None, "copy/a.json")
    said = "^no space left on the disk for copy/a.json; free some disk space"
    fails(monkeypatch, "_download_file", full)
    with pytest.raises(Unknown, match=said) as caught:
        brought(local(tmp_path, monkeypatch), tmp_path, NAMES)
    assert type(caught.value) is Unknown


def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a local database, with the run's files beside it."""
    for name, content in HELD.items():
        path = tmp_path / "mlartifacts" / RUN / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    real = Artifacts.store
    folder = (tmp_path / "mlartifacts").as_uri()

    def store(self: Artifacts, place: str | None = None) -> Any:
        wanted = (place or self.place).replace("mlflow-artifacts:/1", folder)
        return real(self, wanted)

    monkeypatch.setattr(Artifacts, "store", store)
    return f"sqlite:///{tmp_path}/mlflow.db"


def fails(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    def fail(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(LocalArtifactRepository, name, fail)


class Refused(Exception):
    """As boto3 raises it; no class of Python's own."""

    __module__ = "botocore.exceptions"

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize("name", ["list_artifacts", "_download_file"])
@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/x"),
        OSError(errno.EIO, "Input/output error"),
        Refused("AccessDenied"),
        Refused("NoSuchBucket"),
        Refused("SlowDown"),
    ],
    ids=str,
)
def test_any_failure_of_a_store_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    uri = local(tmp_path, monkeypatch)
    fails(monkeypatch, name, error)
    with pytest.raises(Unknown) as caught:
        brought(uri, tmp_path / "copy", NAMES)
    assert "\n" not in str(caught.value)


def test_a_defect_of_ours_is_no_failure_of_the_store() -> None:
    with pytest.raises(AttributeError), failures.plainly("sqlite:////x/mlflow.db"):
        getattr(None, "missing")  # noqa: B009


def test_what_s3_says_of_an_object_itself() -> None:
    assert artifacts._not_found(Refused("NoSuchKey"))
    assert artifacts._not_found(Refused("404"))
    assert not artifacts._not_found(Refused("NoSuchBucket"))
    assert not artifacts._not_found(Refused("403"))
