"""Fixtures of several files of promotion's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import connect, fresh_sqlite, tracked_at

from commands import Run, runner
from recctl.promotion.ledger import aliases
from recctl.promotion.ledger.registry import Registry


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """An empty registry."""
    monkeypatch.setattr(aliases, "SECONDS_BETWEEN_LOOKS", 0.0)
    uri = fresh_sqlite(tmp_path)
    with tracked_at(uri):
        yield connect(tmp_path, uri)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `recctl` in a folder: the folder, then the arguments."""
    return runner(monkeypatch, capfd)
