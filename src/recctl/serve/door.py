"""What every request passes before the application: the token, and a body of bounded size."""

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY = 1 << 20
"""Bytes of a body that are read."""
SECONDS = 10.0
"""In which a body must have arrived."""
OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that need no token."""
CLOSE = {"connection": "close"}
"""After a body that was not read to its end."""


@dataclass(frozen=True)
class Passed:
    """One request, when it is answered."""

    request: str
    path: str
    """The route's, without what the client put into it."""
    status: int
    seconds: float


class Door:
    """Gives each request an id; refuses what has no token and bodies too large or too slow."""

    def __init__(self, app: ASGIApp, token: str | None, passed: Callable[[Passed], None]) -> None:
        self._app = app
        self._token = token
        self._passed = passed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        number, start, status = uuid.uuid4().hex, time.perf_counter(), 500
        scope.setdefault("state", {})["request"] = number

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number.encode())]
            await send(message)

        try:
            await self._pass(scope, receive, answer)
        finally:
            path = getattr(scope.get("route"), "path_format", "other")
            self._passed(Passed(number, path, status, time.perf_counter() - start))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._token is not None and scope["path"] not in OPEN and not self._allowed(scope):
            text = "send the token: 'Authorization: Bearer TOKEN'"
            await _refuse(401, text, {"www-authenticate": "Bearer"})(scope, receive, send)
            return
        try:
            async with asyncio.timeout(SECONDS):
                body = await _body(receive)
        except TimeoutError:
            text = f"the body did not arrive within {SECONDS:.0f} seconds"
            await _refuse(408, text, CLOSE)(scope, receive, send)
            return
        if body is None:
            await _refuse(413, f"the body has more than {BODY:,} bytes", CLOSE)(
                scope, receive, send
            )
            return
        await self._app(scope, _again(body, receive), send)

    def _allowed(self, scope: Scope) -> bool:
        given = Request(scope).headers.get("authorization", "")
        return secrets.compare_digest(given.encode(), f"Bearer {self._token}".encode())


def _refuse(status: int, text: str, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None for one that is too large, of which the rest is read and dropped.

    A client reads the answer only when all was sent. From one that broke off comes what arrived.
    """
    body, size = bytearray(), 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= BODY:
            body += part
        if not message.get("more_body", False):
            return bytes(body) if size <= BODY else None


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read, then what the client does next."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
