"""A server that forwards requests to another one, notes each, and answers one of them wrongly."""

import contextlib
import http.client
import http.server
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PAGE = b"<html><body><h1>This is not the server that you asked</h1></body></html>"
DENIED = b'{"error_code": "PERMISSION_DENIED", "message": "not you"}'
STATUSES = {"401": PAGE, "403": DENIED, "404": PAGE, "408": PAGE, "429": PAGE} | dict.fromkeys(
    ("500", "502", "503", "504"), PAGE
)
FAULTS = (*STATUSES, "cut", "half", "garbage", "empty", "hang")
"""`cut`: the connection ends before an answer. `half`: the request is carried out, and its answer
ends in the middle. `garbage`, `empty`: status 200 with a page, or with nothing. `hang`: no answer
within the client's patience."""

Call = tuple[str, int]
"""A kind of request (see `kind_of`), and its number among these, from 1."""


@dataclass
class Proxy:
    """What was asked, and what goes wrong from which call on."""

    upstream: int
    address: str = ""
    calls: list[Call] = field(default_factory=list)
    at: Call | None = None
    fault: str = ""
    hits: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    _seen: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, at: Call | None = None, fault: str = "") -> None:
        """Forget what was asked; from `at` on requests of this kind meet the fault."""
        self.at, self.fault, self.hits = at, fault, 0
        self.calls, self._seen = [], Counter()
        self.released = threading.Event()

    def fault_of(self, method: str, path: str) -> str:
        """Note a request; the fault that it meets, or nothing."""
        kind = f"{method} {kind_of(path)}"
        with self._lock:
            self._seen[kind] += 1
            self.calls.append((kind, self._seen[kind]))
            if self.at is None or kind != self.at[0] or self._seen[kind] < self.at[1]:
                return ""
            self.hits += 1
            return self.fault


def kind_of(path: str) -> str:
    """A path without what differs between runs; all files of a folder are alike."""
    path, _, query = path.partition("?")
    path = re.sub(r"[0-9a-f]{32}/artifacts/(\w+)/.*", r"RUN/artifacts/\1/FILE", path)
    if "artifacts" in path and query:
        found = re.search(r"artifacts(?:/|%2F)(\w+)", query)
        return f"{path}?path=RUN/{found[1] if found else ''}"
    name = re.search(r"name(?:=|\+%3D\+|%20%3D%20)%?2?7?([\w-]+?)(?:%27|&|$)", query)
    return f"{path}?name={name[1]}" if name else path


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        proxy: Proxy = self.server.proxy  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.fault_of(self.command, self.path)
        self.close_connection = True
        if fault == "hang":
            proxy.released.wait(20)
        elif fault in STATUSES:
            self._answer(int(fault), STATUSES[fault], "text/html")
        elif fault in ("garbage", "empty"):
            self._answer(200, PAGE if fault == "garbage" else b"", "text/html")
        elif fault != "cut":
            status, content, kind = self._forwarded(proxy.upstream, body)
            self._answer(status, content, kind, half=fault == "half")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _forwarded(self, port: int, body: bytes) -> tuple[int, bytes, str]:
        upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        return answer.status, content, answer.headers.get("Content-Type", "")

    def _answer(self, status: int, content: bytes, kind: str, half: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def proxy(address: str) -> Iterator[Proxy]:
    """One before the server at an address, as long as the block lasts."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    found = Proxy(int(address.rpartition(":")[2]), f"http://127.0.0.1:{server.server_port}")
    server.proxy = found  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.released.set()
        server.shutdown()
        server.server_close()
