"""A webhook on this machine that keeps what it was sent."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import web


@dataclass
class Webhook:
    """The messages of Apprise's `json://` that it accepted, and how it answers."""

    address: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    requests: list[BaseHTTPRequestHandler] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Of its next answers; 200 from then on."""
    hangs: threading.Event = field(default_factory=threading.Event)
    """Until it is set, a webhook with the status 0 does not answer."""

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request)
        body = request.rfile.read(int(request.headers["Content-Length"]))
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            self.hangs.wait(60)
            return
        if status == 200:
            self.messages.append(json.loads(body))
        web.send(request, status)


@contextlib.contextmanager
def listening() -> Iterator[Webhook]:
    webhook = Webhook()
    with web.serving(webhook.answer) as address:
        webhook.address = address.replace("http://", "json://") + "/"
        try:
            yield webhook
        finally:
            webhook.hangs.set()
