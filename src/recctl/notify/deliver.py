"""Delivery of notices by Apprise: several attempts within a time limit, no secret in a message."""

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from recctl.errors import UserError
from recctl.intake import secrets

if TYPE_CHECKING:
    from apprise import Apprise

_LOOKS = {
    "promoted": "success",
    "suspicious": "warning",
    "approval-awaited": "warning",
    "rolled-back": "warning",
    "data-rejected": "failure",
    "run-failed": "failure",
    "champion-fallen": "failure",
}
"""Apprise's kind of message, which has its colour or sign, where it is not `info`."""

WAITS = (0.0, 1.0, 3.0)
"""Seconds before each attempt to send a notice to an address."""

SECONDS = 30.0
"""Time limit of all attempts; the addresses are sent to at the same time."""


@dataclass(frozen=True)
class Notice:
    """One notice, as its file keeps it."""

    event: str
    key: str
    """Which promotion, data, run...: a notice of the same event and key is the same one."""
    title: str
    text: str
    time: float
    """When it was written, in seconds since 1970."""
    accepted: list[str]
    """Digests of the addresses that accepted it."""
    done: bool = False
    """Whether all addresses accepted it."""


def place(addresses: Sequence[str], address: str) -> str:
    """What messages call an address, without what may be secret: `address 1 (slack)`."""
    scheme = re.match(r"([a-z][a-z0-9]*)://", address)
    number = f"address {addresses.index(address) + 1}"
    return f"{number} ({scheme[1]})" if scheme else number


Answer = tuple[str, Path | None, str | None]
"""An address and a notice that it accepted; or None and, where there is one, its problem: the last
answer."""


def deliver(
    addresses: Sequence[str],
    wanted: Mapping[str, Mapping[Path, Notice]],
    accepted: Callable[[Path, str], None],
) -> dict[str, str | None]:
    """Send each address its notices, all addresses at the same time.

    By address what went wrong, None where it accepted all.
    """
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    for address, notices in wanted.items():
        # daemons: one that does not end in time must not keep the process from ending
        work = (address, notices, answers.put)
        threading.Thread(target=_post, args=work, daemon=True).start()
    problems: dict[str, str | None] = dict.fromkeys(wanted, f"no answer within {SECONDS:g} s")
    under_way, end = len(wanted), time.monotonic() + SECONDS
    while under_way:
        try:
            address, path, problem = answers.get(timeout=max(end - time.monotonic(), 0.001))
        except queue.Empty:
            break
        if path is not None:
            accepted(path, address)
        else:
            problems[address] = problem
            under_way -= 1
    return {place(addresses, address): problem for address, problem in problems.items()}


def _post(address: str, notices: Mapping[Path, Notice], answer: Callable[[Answer], None]) -> None:
    """Send notices to one address until it does not accept one."""
    problem: str | None = "Apprise failed"
    try:
        problem = _problem(address, notices, answer)
    except UserError as error:
        problem = str(error)
    finally:
        answer((address, None, problem))


def _problem(
    address: str, notices: Mapping[Path, Notice], answer: Callable[[Answer], None]
) -> str | None:
    """Why an address does not accept a notice, without the address; None where it accepts all."""
    url = secrets.filled(address, "a part of notify.addresses")
    apprise = _apprise()
    found = apprise.instantiate(url)  # not by add(), which splits what has a comma
    if found is None:
        return "Apprise knows no such address, or a part of it is missing"
    client = apprise(found)
    for path, notice in notices.items():
        if not any(_attempt(client, notice, wait) for wait in WAITS):
            return _hidden(_reasons.last, url) or "it was not accepted"
        answer((address, path, None))
    return None


def _attempt(client: "Apprise", notice: Notice, wait: float) -> bool:
    time.sleep(wait)
    accepted = client.notify(
        title=f"recctl: {notice.title}",
        body=notice.text,
        notify_type=_LOOKS.get(notice.event, "info"),
        body_format="text",
    )
    return bool(accepted)


def _apprise() -> "type[Apprise]":
    """Apprise, which says what went wrong to `_reasons` in place of stderr."""
    import apprise

    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.addHandler(_reasons)
    return apprise.Apprise


class _Reasons(logging.Handler):
    """Keeps the last warning of the thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._of_thread = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self._of_thread.last = record.getMessage()

    @property
    def last(self) -> str:
        """The last message; empty where there was none."""
        return str(getattr(self._of_thread, "last", ""))


_reasons = _Reasons()


def _hidden(text: str, url: str) -> str:
    """A message without any part of an address."""
    after_scheme = url.partition("://")[2]
    for part in re.split(r"[^\w.%-]+", f"{after_scheme}/{unquote(after_scheme)}"):
        text = text.replace(part, "***") if len(part) > 3 else text
    return secrets.hidden(text, url)


def exposed(addresses: Sequence[str]) -> list[str]:
    """The addresses that contain a password or a token, as Apprise knows them."""
    plain = [one for one in addresses if not one.startswith(secrets.PREFIX) and "${" not in one]
    known = {one: _apprise().instantiate(one) for one in plain}
    return [
        place(addresses, address)
        for address, found in known.items()
        if found and found.url(privacy=True) != found.url(privacy=False)  # type: ignore[no-untyped-call]
    ]
