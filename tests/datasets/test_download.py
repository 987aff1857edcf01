"""Downloads against a server on this machine that misbehaves on request."""

import contextlib
import gzip
import hashlib
import io
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from recctl import limits
from recctl.datasets.download import ATTEMPTS, download
from recctl.errors import MayPass, Unknown, UserError
from web import send, serving

BODY = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class Server:
    """A server of one body, and what it is to do wrong."""

    body: bytes = BODY
    ranges: bool = True
    tag: str | None = '"v1"'
    length: bool = True
    cuts: list[int] = field(default_factory=list)
    """The first requests end after so many bytes."""
    statuses: list[int] = field(default_factory=list)
    """The first requests are answered so."""
    checksum_status: int = 404
    """For a checksum that is not among the other paths."""
    extra: dict[str, bytes] = field(default_factory=dict)
    """Other paths."""
    pauses: float = 0.0
    """Seconds before each byte of the body."""
    leads_to: str | None = None
    """An address that every request is sent on to."""
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request for the body."""
    address: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.leads_to is not None:
            self.length = True
            self.send(handler, 302, b"", {"Location": self.leads_to})
        elif handler.path in self.extra:
            self.send(handler, 200, self.extra[handler.path], {})
        elif handler.path.endswith(".md5"):
            self.send(handler, self.checksum_status, b"", {})
        else:
            self.answer_body(handler)

    def answer_body(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if self.statuses:
            return self.send(handler, self.statuses.pop(0), b"", {})
        start, headers = 0, {"ETag": self.tag} if self.tag else {}
        if wanted and self.ranges and handler.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.body):
                return self.send(handler, 416, b"", {})
            headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        return self.send(handler, 206 if start else 200, self.body[start:], headers)

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        sent = body[: self.cuts.pop(0)] if self.cuts and status < 300 else body
        length = len(body) if self.length else -1
        send(handler, status, b"" if self.pauses else sent, headers, length)
        if self.pauses:
            self.trickle(handler, body)

    def trickle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        with contextlib.suppress(OSError):  # the other side has had enough
            for byte in body:
                time.sleep(self.pauses)
                handler.wfile.write(bytes([byte]))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    with serving(server.answer) as address:
        server.address = f"{address}/file"
        yield server


def fetch(server: Server, target: Path, checksum: str | None = None) -> list[str]:
    """Download, and return what was said."""
    said: list[str] = []
    download(
        server.address,
        target,
        progress=lambda done, total: said.append(f"{done}/{total}"),
        say=said.append,
        checksum=checksum,
        pause=0.0,
    )
    return said


def test_a_whole_file_with_its_progress(server: Server, tmp_path: Path) -> None:
    said = fetch(server, tmp_path / "downloads" / "file")
    assert (tmp_path / "downloads" / "file").read_bytes() == BODY
    assert said[0] == "0/1048576"
    assert said[-1] == "1048576/1048576"
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["file"]


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "file")
    fetch(server, tmp_path / "file")
    assert server.asked == [None]


@pytest.mark.parametrize(
    ("faults", "requests"),
    [
        ({"cuts": [300_000, 200_000]}, [None, "bytes=300000-", "bytes=500000-"]),
        ({"cuts": [300_000], "ranges": False}, [None, "bytes=300000-"]),  # it sends all again
        ({"cuts": [300_000], "tag": None}, [None, None]),  # it may be another file
        ({"statuses": [503, 429]}, [None] * 3),
    ],
    ids=["cut off", "no ranges", "no tag", "busy"],
)
def test_a_download_continues_after_a_fault(
    server: Server, tmp_path: Path, faults: dict[str, Any], requests: list[str | None]
) -> None:
    for name, value in faults.items():
        setattr(server, name, value)
    progress = fetch(server, tmp_path / "file")
    assert server.asked == requests
    assert (tmp_path / "file").read_bytes() == BODY
    assert any("trying again" in line for line in progress)


@pytest.mark.parametrize(
    ("body", "tag"),
    [(b"new" * 100_000, '"v2"'), (b"short", '"v1"')],
    ids=["another file", "shorter than the partial file"],
)
def test_a_partial_file_that_no_longer_fits_is_fetched_again(
    server: Server, tmp_path: Path, body: bytes, tag: str
) -> None:
    server.cuts = [300_000] + [0] * ATTEMPTS
    with pytest.raises(UserError):
        fetch(server, tmp_path / "file")
    server.body, server.tag = body, tag
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == body


def test_a_later_command_goes_on_with_what_is_there(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000] + [0] * ATTEMPTS
    with pytest.raises(UserError, match="300,000 bytes are kept; run the command again later"):
        fetch(server, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert len(server.asked) == 1 + ATTEMPTS
    fetch(server, tmp_path / "file")
    assert server.asked[-1] == "bytes=300000-"
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_missing_file_is_one_line_and_no_second_try(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.statuses = [status]
    with pytest.raises(UserError, match=f"answers HTTP {status} .*--from"):
        fetch(server, tmp_path / "file")
    assert len(server.asked) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_a_server(tmp_path: Path) -> None:
    # Port 9 of this machine: the discard service, which nothing here offers.
    with pytest.raises(UserError, match=r"could not be fetched \(no connection\)"):
        fetch(Server(address="http://127.0.0.1:9/file"), tmp_path / "file")
    with pytest.raises(UserError, match="could not be fetched"):
        fetch(Server(address="http:///file"), tmp_path / "file")


@pytest.mark.parametrize("form", ["{}  file\n", "MD5 (file) = {}\n", "{}"])
def test_a_published_checksum_is_compared(server: Server, tmp_path: Path, form: str) -> None:
    md5 = hashlib.md5(BODY).hexdigest()
    server.extra["/file.md5"] = form.format(md5).encode()
    assert f"MD5 {md5} as published" in fetch(server, tmp_path / "file", server.address + ".md5")


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.extra["/file.md5"] = b"0" * 32
    with pytest.raises(UserError, match=f"but {'0' * 32} is published"):
        fetch(server, tmp_path / "file", server.address + ".md5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "kind"), [(503, MayPass), (429, MayPass), (403, Unknown)])
def test_a_checksum_that_could_not_be_read_is_not_taken_for_none(
    server: Server, tmp_path: Path, status: int, kind: type[UserError]
) -> None:
    server.checksum_status = status
    with pytest.raises(kind, match=f"checksum .* could not be fetched .HTTP {status}"):
        fetch(server, tmp_path / "file", server.address + ".md5")
    assert (tmp_path / "file.part").read_bytes() == BODY  # not brought again
    assert not (tmp_path / "file").exists()


def test_a_missing_checksum_is_said(server: Server, tmp_path: Path) -> None:
    said = fetch(server, tmp_path / "file", server.address + ".md5")
    assert said[-1].startswith("no checksum at ")


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("u.data", "1\t2\t3\t4\n" * 100)
    return data.getvalue()


@pytest.mark.parametrize("name", ["file.zip", "file.gz"])
def test_archives_are_checked(server: Server, tmp_path: Path, name: str) -> None:
    whole = zipped() if name == "file.zip" else gzip.compress(b"1 2\n" * 100)
    server.body = whole
    fetch(server, tmp_path / name)
    (tmp_path / name).unlink()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for bad in (b"<html>please log in</html>", bytes(damaged)):
        server.body = bad
        with pytest.raises(UserError, match=r"is not a|damaged"):
            fetch(server, tmp_path / name)
        assert list(tmp_path.iterdir()) == []


def test_an_archive_cut_short_by_a_server_that_sends_no_length(
    server: Server, tmp_path: Path
) -> None:
    server.body, server.length, server.cuts = zipped(), False, [500]
    with pytest.raises(UserError, match="is not a zip archive"):
        fetch(server, tmp_path / "file.zip")


def test_a_download_of_the_largest_size(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOWNLOAD_BYTES", len(BODY))
    fetch(server, tmp_path / "file")
    monkeypatch.setattr(limits, "DOWNLOAD_BYTES", len(BODY) - 1)
    for said in (True, False):  # what the server says beforehand, and what it only sends
        server.length = said
        with pytest.raises(UserError, match="sends more than"):
            fetch(server, tmp_path / "again")
        assert not list(tmp_path.glob("again*"))


def test_a_download_that_trickles_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOWNLOAD_SECONDS", 0.2)
    server.pauses = 0.01
    began = time.monotonic()
    with pytest.raises(MayPass, match="less than 1,024 bytes a second"):
        fetch(server, tmp_path / "file")
    assert time.monotonic() - began < 5
    server.pauses = 0.0
    assert fetch(server, tmp_path / "file")[0] != f"0/{len(BODY)}"  # what came is kept


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/file", "::"])
def test_a_redirect_elsewhere_ends_in_one_line(
    server: Server, tmp_path: Path, address: str
) -> None:
    server.leads_to = address
    with pytest.raises(UserError, match="could not be fetched"):
        fetch(server, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_redirect_that_drops_encryption_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has no certificate: the request is made to it as a redirect would."""
    get = requests.get

    def redirected(address: str, **more: Any) -> requests.Response:
        return get(address.replace("https:", "http:"), **more)

    monkeypatch.setattr(requests, "get", redirected)
    server.address = server.address.replace("http:", "https:")
    with pytest.raises(UserError, match="redirects to an address without encryption"):
        fetch(server, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_checksum_without_end_is_not_read_to_it(server: Server, tmp_path: Path) -> None:
    digest = hashlib.md5(BODY).hexdigest()
    server.extra["/sum.md5"] = digest.encode() + b" file" + b"x" * 10**7
    fetch(server, tmp_path / "file", server.address.replace("/file", "/sum.md5"))
