"""Downloads that resume, are checked, and appear only when whole."""

import hashlib
import json
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from recctl import limits
from recctl.data import unpack
from recctl.data.plain import is_gzip, reading
from recctl.errors import Gone, MayPass, Unknown, UserError
from recctl.files import sync, write_json

CHUNK = 2**18
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for the next bytes."""
ATTEMPTS = 4
"""Attempts in a row without progress."""

ABSENT = (404, 410)
"""HTTP statuses of a server that has no such file."""

Progress = Callable[[int, int | None], None]
"""Gets the number of bytes received and the total, None if unknown."""


class _Incomplete(Exception):
    """The connection ended early; the received bytes are kept."""


def download(
    address: str,
    target: Path,
    *,
    progress: Progress,
    say: Callable[[str], None],
    checksum: str | None = None,
    pause: float = 0.5,
) -> Path:
    """Fetch `address` to `target`, continuing an earlier attempt, and check the content.

    An existing file was checked before and is kept. `checksum` is the address of the publisher's
    MD5. Received bytes are in `target.part`; `pause` is the first wait between attempts, in
    seconds. Raises Gone when the server has no such file, MayPass when it cannot be reached or the
    connection keeps breaking off, Unknown when it refuses, UserError when the content is not what
    was published.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        transfer = _Transfer(address, target.with_name(target.name + ".part"), progress, say)
        transfer.fetch(pause)
        transfer.check(target.name, checksum)
        sync(transfer.part)
        transfer.part.replace(target)
        transfer.note.unlink(missing_ok=True)
        sync(target.parent)
    return target


@dataclass(frozen=True)
class _Transfer:
    """A download under way."""

    address: str
    part: Path
    """The partial file."""
    progress: Progress
    say: Callable[[str], None]

    @property
    def note(self) -> Path:
        """The server's tag and size of the partial file, to continue only the same file."""
        return self.part.with_name(self.part.name + ".json")

    @property
    def size(self) -> int:
        """Bytes received."""
        return self.part.stat().st_size if self.part.exists() else 0

    def fetch(self, pause: float) -> None:
        """Request the file until it is whole, or until ATTEMPTS in a row bring nothing."""
        failures = 0
        while True:
            before = self.size
            try:
                return self._request()
            except (_Incomplete, requests.ConnectionError, requests.Timeout) as error:
                failures = 0 if self.size > before else failures + 1
                if failures >= ATTEMPTS:
                    raise self._unreachable(error) from None
                host = urlsplit(self.address).netloc.rpartition("@")[2] or self.address
                self.say(f"{host}: {_reason(error)}; trying again")
                time.sleep(pause * 2**failures)
            except requests.RequestException as error:
                raise self._unreachable(error) from None

    def _request(self) -> None:
        """One request: for the rest of the file where the server allows it, otherwise all of it."""
        headers = {"Accept-Encoding": "identity", **self._resume_headers()}
        with requests.get(self.address, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # the partial file does not fit the server's
                self.part.unlink(missing_ok=True)
                raise _Incomplete("the file on the server has changed")
            if _passes(response.status_code):
                raise _Incomplete(f"HTTP {response.status_code}")
            if response.status_code not in (200, 206):
                raise (Gone if response.status_code in ABSENT else Unknown)(
                    f"{self.address} answers HTTP {response.status_code} {response.reason}",
                    "get the file by other means and name it with --from",
                )
            start = self._start(response)
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
            if self.address.startswith("https:") and not response.url.startswith("https:"):
                raise UserError(
                    f"{self.address} redirects to an address without encryption",
                    "check the address",
                )
            if total is not None and total > limits.DOWNLOAD_BYTES:
                raise self._too_long()
            tag = {"address": fingerprint(self.address), "tag": _tag(response), "total": total}
            write_json(self.note, tag)
            self._receive(response, start, total)

    def _resume_headers(self) -> dict[str, str]:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            note = {}
        same = note.get("address") == fingerprint(self.address)
        if not self.size or not same or not note.get("tag"):
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": note["tag"]}

    def _start(self, response: requests.Response) -> int:
        """Position of the answer's first byte: 0 unless the server continues the partial file."""
        if response.status_code == 200:
            return 0
        begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if begins is None or int(begins[1]) != self.size:
            self.part.unlink(missing_ok=True)
            raise _Incomplete("the server continued at another position")
        return int(begins[1])

    def _receive(self, response: requests.Response, start: int, total: int | None) -> None:
        with self.part.open("r+b" if self.part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            self.progress(start, total)
            try:
                # read1 returns what has arrived; iter_content would drop an incomplete chunk.
                since, before = time.monotonic(), start
                while chunk := response.raw.read1(CHUNK):
                    file.write(chunk)
                    received = file.tell()
                    self.progress(received, total)
                    if received > limits.DOWNLOAD_BYTES:
                        raise self._too_long()
                    if (seconds := time.monotonic() - since) > limits.DOWNLOAD_SECONDS:
                        if received - before < limits.DOWNLOAD_RATE * seconds:
                            raise MayPass(
                                f"{self.address} sends less than {limits.DOWNLOAD_RATE:,} bytes "
                                f"a second; {received:,} bytes are kept",
                                _LATER,
                            )
                        since, before = time.monotonic(), received
            except (urllib3.exceptions.HTTPError, ConnectionError) as error:
                raise _Incomplete("the connection broke off") from error
            received = file.tell()
        if total is not None and received < total:
            raise _Incomplete(f"the connection ended at {received:,} of {total:,} bytes")

    def _too_long(self) -> UserError:
        self._drop()
        return UserError(
            f"{self.address} sends more than {limits.DOWNLOAD_BYTES:,} bytes",
            "check the address, or get the file by other means and name it with --from",
        )

    def _unreachable(self, error: Exception) -> UserError:
        kept = f"; {self.size:,} bytes are kept" if self.size else ""
        passing = isinstance(error, _Incomplete | requests.ConnectionError | requests.Timeout)
        refused = isinstance(error, requests.exceptions.SSLError)
        kind = MayPass if passing else UserError  # such as an invalid address
        return (Unknown if refused else kind)(
            f"{self.address} could not be fetched ({_reason(error)}){kept}", _LATER
        )

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def check(self, name: str, checksum: str | None) -> None:
        """UserError if the file is not what was published; its bytes are deleted then."""
        try:
            if checksum is not None:
                self._check_md5(checksum)
            if name.endswith(".zip"):
                self._check_zip()
            if name.endswith(".gz"):
                self._check_gzip()
        except Unknown:  # the bytes may be right
            raise
        except UserError:
            self._drop()
            raise

    def _check_md5(self, checksum: str) -> None:
        expected = published_md5(checksum)
        if expected is None:
            self.say(f"no checksum at {checksum}: only the archive's own is checked")
            return
        with self.part.open("rb") as file:
            actual = hashlib.file_digest(file, "md5").hexdigest()
        if actual != expected:
            raise UserError(
                f"{self.address} came with MD5 {actual}, but {expected} is published",
                "run the command again; if the error stays, the file is altered in transit",
            )
        self.say(f"MD5 {actual} as published")

    def _check_zip(self) -> None:
        with reading(self.part):
            if not zipfile.is_zipfile(self.part):
                raise UserError(f"{self.address} is not a zip archive", "check the address")
            with zipfile.ZipFile(self.part) as archive:
                unpack.check(archive, self.part)
                broken = archive.testzip()
        if broken:
            what = f"{self.address}: '{broken}' in the archive is damaged"
            raise UserError(what, "run the command again")

    def _check_gzip(self) -> None:
        if not is_gzip(self.part):
            raise UserError(f"{self.address} is not a gzip file", "check the address")
        with reading(self.part):
            unpack.read_through(self.part)


_LATER = "run the command again later, or get the file by other means and name it with --from"


def _passes(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _tag(response: requests.Response) -> str | None:
    """A strong ETag or the date of the last change, for If-Range."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def fingerprint(address: str) -> str:
    """A hash that identifies an address: no file may hold the address itself, because of tokens."""
    return hashlib.sha256(address.encode()).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)


_CHECKSUM_BYTES = 1_000


def published_md5(address: str) -> str | None:
    """The MD5 in a publisher's file, in any format of md5 programs; None if there is none.

    Raises MayPass or Unknown where the file could not be read.
    """
    try:
        with requests.get(address, timeout=TIMEOUT, stream=True) as response:
            text = response.raw.read(_CHECKSUM_BYTES, decode_content=True)
    except requests.RequestException as error:
        raise MayPass(
            f"the checksum at {address} could not be fetched ({_reason(error)})",
            "run the command again later",
        ) from None
    if response.status_code in ABSENT:
        return None
    if response.status_code != 200:
        raise (MayPass if _passes(response.status_code) else Unknown)(
            f"the checksum at {address} could not be fetched (HTTP {response.status_code})",
            "run the command again later",
        )
    md5 = re.search(r"\b[0-9a-fA-F]{32}\b", text.decode(errors="replace"))
    return md5[0].lower() if md5 else None
