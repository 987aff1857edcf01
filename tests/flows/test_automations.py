"""Prefect's server itself sends a notice of a crashed run."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect_server import PrefectServer
from ruamel.yaml import YAML

import webhooks
from lives import wait_for
from recctl.layout import Layout
from recctl.services import up
from webhooks import Webhook

FLOWS = Path(__file__).parents[2] / "flows"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with webhooks.listening() as found:
        yield found


def registered(server: PrefectServer) -> list[str]:
    """Those of notices; the server also has the triggers of other tests' deployments."""
    found = server.ask("/automations/filter", {})
    return sorted({one["name"] for one in found} & {"recctl-crashed", "recctl-late"})


def crash(server: PrefectServer) -> None:
    flow = server.ask("/flows/", {"name": "nightly"})
    state: dict[str, Any] = {"type": "RUNNING", "name": "Running"}
    run = server.ask("/flow_runs/", {"flow_id": flow["id"], "name": "retrain-7", "state": state})
    state = {"type": "CRASHED", "name": "Crashed", "message": "its process was killed"}
    server.ask(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def register(layout: Layout, server: PrefectServer, addresses: list[str]) -> list[str]:
    """As `recctl up` does; the names of the automations."""
    with layout.params.open("w") as file:
        YAML().dump({"notify": {"addresses": addresses}}, file)
    assert up._automations(layout, server.api, lambda line: None) == []
    return registered(server)


def test_a_crashed_run_is_a_notice(
    prefect_server: PrefectServer,
    tmp_path: Path,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (layout.state / "services").mkdir(parents=True)
    monkeypatch.setenv("HOOK_KEY", "s3cret")
    monkeypatch.chdir(tmp_path)
    address = f"{webhook.address}${{HOOK_KEY}}"
    assert register(layout, prefect_server, []) == []
    both = ["recctl-crashed", "recctl-late"]
    assert register(layout, prefect_server, [address, address]) == both
    assert register(layout, prefect_server, [address]) == both
    crash(prefect_server)
    wait_for("the notice", lambda: webhook.titles)
    [message] = webhook.messages
    assert message["title"] == "recctl: retrain-7 is crashed"
    assert message["message"].startswith("its process was killed\nPrefect: http")
    assert webhook.requests[0].path == "/s3cret"
    assert register(layout, prefect_server, []) == []


def test_an_address_without_its_variable_is_a_note(
    prefect_server: PrefectServer, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(FLOWS, tmp_path / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (layout.state / "services").mkdir(parents=True)
    layout.params.write_text("notify: {addresses: ['slack://${NO_SUCH_TOKENS}']}\n")
    [note] = up._automations(layout, prefect_server.api, lambda line: None)
    assert note.startswith("crashed runs send no notice (")
    assert "NO_SUCH_TOKENS, which is not set" in note
