"""What `bring` concludes from a cache and a remote that give nothing."""

from pathlib import Path
from typing import NoReturn

import pytest

from recctl import dvc
from recctl.data import versions
from recctl.errors import MayPass, UserError
from recctl.layout import Layout

NOWHERE = "WARNING: Some of the cache files do not exist neither locally nor on remote."
FULL = "ERROR: [Errno 28] No space left on device"


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project whose data.dvc names a version that its empty cache lacks."""
    settings = {"core": {"remote": "origin"}, "cache": {"dir": str(tmp_path / "cache")}}
    monkeypatch.setattr(dvc, "config", lambda layout: settings)
    monkeypatch.setattr(versions, "digest", lambda layout: f"{'0' * 32}.dir")
    monkeypatch.setattr(versions, "_require_project", lambda layout: None)
    return Layout(tmp_path)


@pytest.mark.parametrize(
    ("fetch", "kind", "says"),
    [
        ("", MayPass, "it is unreachable, or 'dvc push' was never run"),
        (NOWHERE, MayPass, "it is unreachable, or 'dvc push' was never run"),
        ("ERROR: HTTP 503", MayPass, "503"),
        (FULL, UserError, "free some disk space"),
    ],
)
def test_a_remote_that_gives_nothing(
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    fetch: str,
    kind: type[UserError],
    says: str,
) -> None:
    def ask(layout: Layout, *arguments: str) -> dvc.Answer:
        assert arguments[0] == "fetch", "data/ is touched although nothing came"
        return dvc.Answer(1 if fetch else 0, "", fetch)

    monkeypatch.setattr(dvc, "ask", ask)
    with pytest.raises(kind, match=says) as caught:
        versions.bring(layout)
    assert type(caught.value) is kind


def test_without_a_remote_the_lacking_version_is_named(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc, "config", lambda layout: {"core": {}, "cache": {}})
    with pytest.raises(UserError, match=r"cache lacks version 0+ .* no remote") as caught:
        versions.bring(layout)
    assert type(caught.value) is UserError


def test_a_cache_that_cannot_be_read_does_not_lack_a_version(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, encoding: str) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionError):
        versions.bring(layout)
