"""Downloads that resume, are checked, and appear only when whole."""

import hashlib
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from recctl import limits
from recctl.data import unpack
from recctl.data.plain import reading
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
    seconds. Raises Gone when the server has no such
    file, MayPass when it cannot be reached or the connection keeps breaking off, Unknown when it
    refuses, UserError when the content is not what was published.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, _part(target), progress, say, pause)
        _check(address, _part(target), target.name, checksum, say)
        sync(_part(target))
        _part(target).replace(target)
        _note(_part(target)).unlink(missing_ok=True)
        sync(target.parent)
    return target


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _note(part: Path) -> Path:
    """The server's tag and size of the partial file, so that only the same file is continued."""
    return part.with_name(part.name + ".json")


def _fetch(
    address: str, part: Path, progress: Progress, say: Callable[[str], None], pause: float
) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            return _transfer(address, part, progress)
        except (_Incomplete, requests.ConnectionError, requests.Timeout) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise _unreachable(address, part, error) from None
            say(f"{_host(address)}: {_reason(error)}; trying again")
            time.sleep(pause * 2**failures)
        except requests.RequestException as error:
            raise _unreachable(address, part, error) from None


def _transfer(address: str, part: Path, progress: Progress) -> None:
    """One request: for the rest of the file where the server allows it, otherwise for all of it."""
    headers = {"Accept-Encoding": "identity", **_resume_headers(address, part)}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # the partial file does not fit the server's
            part.unlink(missing_ok=True)
            raise _Incomplete("the file on the server has changed")
        if _passes(response.status_code):
            raise _Incomplete(f"HTTP {response.status_code}")
        if response.status_code not in (200, 206):
            absent = response.status_code in ABSENT
            raise (Gone if absent else Unknown)(
                f"{address} answers HTTP {response.status_code} {response.reason}",
                "get the file by other means and name it with --from",
            )
        start = _start(response, part)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if address.startswith("https:") and not response.url.startswith("https:"):
            raise UserError(
                f"{address} redirects to an address without encryption", "check the address"
            )
        if total is not None and total > limits.DOWNLOAD_BYTES:
            raise _endless(address, part)
        write_json(
            _note(part), {"address": _fingerprint(address), "tag": _tag(response), "total": total}
        )
        _receive(response, address, part, start, total, progress)


def _endless(address: str, part: Path) -> UserError:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
    return UserError(
        f"{address} sends more than {limits.DOWNLOAD_BYTES:,} bytes",
        "check the address, or get the file by other means and name it with --from",
    )


def _passes(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _tag(response: requests.Response) -> str | None:
    """A strong ETag or the date of the last change, for If-Range."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _fingerprint(address: str) -> str:
    """A hash that identifies an address: no file may hold the address itself, because of tokens."""
    return hashlib.sha256(address.encode()).hexdigest()


def _resume_headers(address: str, part: Path) -> dict[str, str]:
    size = _size(part)
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        note = {}
    if not size or note.get("address") != _fingerprint(address) or not note.get("tag"):
        return {}
    return {"Range": f"bytes={size}-", "If-Range": note["tag"]}


def _start(response: requests.Response, part: Path) -> int:
    """Position of the answer's first byte: 0 unless the server continues where we stopped."""
    if response.status_code == 200:
        return 0
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if begins is None or int(begins[1]) != _size(part):
        part.unlink(missing_ok=True)
        raise _Incomplete("the server continued at another position")
    return int(begins[1])


def _receive(
    response: requests.Response,
    address: str,
    part: Path,
    start: int,
    total: int | None,
    progress: Progress,
) -> None:
    with part.open("r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        progress(start, total)
        try:
            # read1 returns what has arrived; iter_content would drop an incomplete chunk.
            since, before = time.monotonic(), start
            while chunk := response.raw.read1(CHUNK):
                file.write(chunk)
                received = file.tell()
                progress(received, total)
                if received > limits.DOWNLOAD_BYTES:
                    raise _endless(address, part)
                if (seconds := time.monotonic() - since) > limits.DOWNLOAD_SECONDS:
                    if received - before < limits.DOWNLOAD_RATE * seconds:
                        raise _trickles(address, received)
                    since, before = time.monotonic(), received
        except (urllib3.exceptions.HTTPError, ConnectionError) as error:
            raise _Incomplete("the connection broke off") from error
        received = file.tell()
    if total is not None and received < total:
        raise _Incomplete(f"the connection ended at {received:,} of {total:,} bytes")


def _trickles(address: str, received: int) -> MayPass:
    return MayPass(
        f"{address} sends less than {limits.DOWNLOAD_RATE:,} bytes a second; "
        f"{received:,} bytes are kept",
        "run the command again later, or get the file by other means and name it with --from",
    )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _host(address: str) -> str:
    return urlsplit(address).netloc.rpartition("@")[2] or address


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error)


def _unreachable(address: str, part: Path, error: Exception) -> UserError:
    kept = f"; {_size(part):,} bytes are kept" if _size(part) else ""
    passing = isinstance(error, _Incomplete | requests.ConnectionError | requests.Timeout)
    refused = isinstance(error, requests.exceptions.SSLError)
    kind = MayPass if passing else UserError  # such as an address that is none
    return (Unknown if refused else kind)(
        f"{address} could not be fetched ({_reason(error)}){kept}",
        "run the command again later, or get the file by other means and name it with --from",
    )


def _check(
    address: str,
    part: Path,
    name: str,
    checksum: str | None,
    say: Callable[[str], None],
) -> None:
    """UserError if the file is not what was published; its bytes are deleted then."""
    try:
        if checksum is not None:
            _check_md5(address, part, checksum, say)
        if name.endswith(".zip"):
            _check_zip(address, part)
        if name.endswith(".gz"):
            _check_gzip(address, part)
    except Unknown:  # the bytes may be right
        raise
    except UserError:
        part.unlink()
        _note(part).unlink(missing_ok=True)
        raise


def _check_md5(address: str, part: Path, checksum: str, say: Callable[[str], None]) -> None:
    expected = published_md5(checksum)
    if expected is None:
        say(f"no checksum at {checksum}: only the archive's own is checked")
        return
    with part.open("rb") as file:
        actual = hashlib.file_digest(file, "md5").hexdigest()
    if actual != expected:
        raise UserError(
            f"{address} came with MD5 {actual}, but {expected} is published",
            "run the command again; if the error stays, the file is altered in transit",
        )
    say(f"MD5 {actual} as published")


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
    found = re.search(r"\b[0-9a-fA-F]{32}\b", text.decode(errors="replace"))
    return found[0].lower() if found else None


def _check_zip(address: str, part: Path) -> None:
    with reading(part):
        if not zipfile.is_zipfile(part):
            raise UserError(f"{address} is not a zip archive", "check the address")
        with zipfile.ZipFile(part) as archive:
            unpack.check(archive, part)
            broken = archive.testzip()
    if broken:
        raise UserError(f"{address}: '{broken}' in the archive is damaged", "run the command again")


def _check_gzip(address: str, part: Path) -> None:
    with part.open("rb") as file:
        if unpack.packing(file.read(6)) != "gzip":
            raise UserError(f"{address} is not a gzip file", "check the address")
    with reading(part), unpack.open_gzip(part) as unpacked:
        while unpacked.read(2**22):
            pass
