"""Webhooks, and no waits between attempts."""

from collections.abc import Iterator

import pytest

import webhooks
from recctl.notify import deliver
from webhooks import Webhook


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with webhooks.listening() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Webhook]:
    with webhooks.listening() as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "WAITS", (0.0, 0.0, 0.0))
