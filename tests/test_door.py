"""Who gets past the door of the two servers: the key, the host, the page that asks."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from recctl.services import door

KEY = "recctl:s3cret"
HOST = ("host", "127.0.0.1:4200")


def basic(text: str) -> tuple[str, str]:
    return ("authorization", f"Basic {base64.b64encode(text.encode()).decode()}")


def status(key: Path | None, *headers: tuple[str, str], kind: str = "http") -> int:
    """The status of an answer; 200 where the request reaches the application."""
    sent: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": f"{kind}.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read of what is refused")

    scope = {
        "type": kind,
        "method": "POST",
        "path": "/",
        "headers": [(name.encode(), value.encode()) for name, value in headers],
        "extensions": {"websocket.http.response": {}},
    }
    asyncio.run(door._guarded(application, key)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    return file


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([HOST], 200),
        ([("host", "localhost:4200")], 200),
        ([("host", "LOCALHOST")], 200),
        ([("host", "evil.example")], 400),
        ([("host", "127.0.0.1.evil.example:4200")], 400),
        ([("host", "10.evil.example")], 400),
        ([], 400),
        ([HOST, ("origin", "http://127.0.0.1:4200")], 200),
        ([("host", "localhost:4200"), ("origin", "http://localhost:4200")], 200),
        ([HOST, ("origin", "http://evil.example")], 403),
        ([HOST, ("origin", "http://127.0.0.1:9999")], 403),  # a server of another user
        ([HOST, ("origin", "https://127.0.0.1:4200")], 403),
        ([HOST, ("origin", "null")], 403),
        ([HOST, ("origin", "")], 403),
        ([HOST, ("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "empty")], 200),
        ([HOST, ("sec-fetch-site", "none"), ("sec-fetch-dest", "document")], 200),
        ([HOST, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")], 200),
        ([HOST, ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")], 403),
        ([HOST, ("sec-fetch-site", "same-site"), ("sec-fetch-dest", "iframe")], 403),
    ],
)
def test_hosts_and_pages(kind: str, headers: list[tuple[str, str]], found: int) -> None:
    assert status(None, *headers, kind=kind) == found


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], 401),
        ([basic(KEY)], 200),
        ([basic(KEY + "x")], 401),
        ([basic(KEY[:-1])], 401),
        ([basic("recctl:")], 401),
        ([basic("")], 401),
        ([("authorization", f"Bearer {KEY}")], 401),
        ([("authorization", "Basic \xff")], 401),
        ([basic(KEY), ("origin", "http://evil.example")], 403),  # a browser adds the key
    ],
)
def test_the_key(key: Path, headers: list[tuple[str, str]], found: int) -> None:
    assert status(key, HOST, *headers) == found
    assert status(key, HOST, *headers, kind="websocket") == found


def test_the_key_that_counts_is_the_one_in_the_file_now(key: Path) -> None:
    key.write_text("recctl:another")
    assert status(key, HOST, basic(KEY)) == 401
    assert status(key, HOST, basic("recctl:another")) == 200
    key.unlink()
    assert status(key, HOST, basic("recctl:another")) == 401
