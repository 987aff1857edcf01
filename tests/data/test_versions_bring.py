"""What `bring` concludes from a cache and a remote that give nothing."""

import subprocess
from pathlib import Path

import pytest

from recctl.data import versions
from recctl.errors import MayPass, UserError
from recctl.layout import Layout

LACKS = "ERROR: Checkout failed for following targets:\ndata\nIs your cache up to date?"
NO_REMOTE = "ERROR: no remote specified"
NOWHERE = "WARNING: Some of the cache files do not exist neither locally nor on remote."


@pytest.mark.parametrize(
    ("checkout", "pull", "remotes", "kind", "says"),
    [
        (LACKS, NO_REMOTE, "", UserError, "cache lacks this version"),
        ("ERROR: [Errno 13] Permission denied: 'cache'", NO_REMOTE, "", UserError, "denied"),
        ("ERROR: [Errno 28] No space left on device", NO_REMOTE, "", UserError, "No space left"),
        (LACKS, NOWHERE, "origin\tssh://host/x", MayPass, "it is away, or nobody ran 'dvc push'"),
        (LACKS, "ERROR: HTTP 503", "origin\thttp://host/x", MayPass, "503"),
    ],
)
def test_only_what_dvc_says_is_lacking_is_said_to_lack(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkout: str,
    pull: str,
    remotes: str,
    kind: type[UserError],
    says: str,
) -> None:
    def run(layout: Layout, *arguments: str) -> "subprocess.CompletedProcess[str]":
        wrong = {"checkout": checkout, "pull": pull}.get(arguments[0], "")
        return subprocess.CompletedProcess(arguments, 1 if wrong else 0, remotes, wrong)

    monkeypatch.setattr(versions, "_run", run)
    monkeypatch.setattr(versions, "_require_project", lambda layout: None)
    with pytest.raises(kind, match=says) as caught:
        versions.bring(Layout(tmp_path))
    assert type(caught.value) is kind
