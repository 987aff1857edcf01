"""The runs of `retrain` on a real Prefect server: last, next, waiting, and a person's answer."""

import json
import uuid
from pathlib import Path
from typing import Any

import in_prefect
import pytest
from prefect_server import PrefectServer

import ports
from commands import runner
from lives import wait_for
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.services import flow_runs
from recctl.services.flow_runs import Prefect
from recctl.services.server import answers

KEYS = {"schema": "paused-1-schema", "response": "paused-1-response"}
PAUSED = {
    "type": "PAUSED",
    "name": "Paused",
    "state_details": {"run_input_keyset": KEYS, "pause_timeout": "2999-01-01T00:00:00Z"},
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").touch()
    return Layout(tmp_path)


@pytest.fixture
def server(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> PrefectServer:
    """A server of the team, on which no run of another test waits."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_server.api)
    wait_for("a quick answer", lambda: answers(f"{prefect_server.api}/admin/version", ""))
    for run in prefect_server.ask(
        "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    ):
        end(prefect_server, run["id"], "CANCELLED")
    return prefect_server


def make(server: PrefectServer, name: str, state: dict[str, Any], flow: str = "retrain") -> str:
    """A flow run in a state, without any process."""
    of = server.ask("/flows/", {"name": flow})["id"]
    run = str(server.ask("/flow_runs/", {"flow_id": of, "name": name})["id"])
    server.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    schema = json.dumps(in_prefect.Approval.model_json_schema())
    server.ask(f"/flow_runs/{run}/input", {"key": KEYS["schema"], "value": schema})
    return run


def end(server: PrefectServer, run: str, kind: str) -> None:
    state = {"type": kind, "name": kind.capitalize(), "message": "because"}
    server.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": True})


def said(server: PrefectServer, run: str) -> Any:
    """The answer that the run reads."""
    return server.ask(f"/flow_runs/{run}/input/{KEYS['response']}")


@pytest.mark.parametrize("by", ["name", "id", "nothing"])
@pytest.mark.parametrize("approve", [True, False])
def test_the_answer_reaches_the_run(
    server: PrefectServer, layout: Layout, approve: bool, by: str
) -> None:
    name = f"retrain-{uuid.uuid4()}"
    run = make(server, name, PAUSED)
    chosen = {"name": name, "id": run, "nothing": None}[by]
    assert flow_runs.answer(layout, chosen, approve=approve, name="Ann") == name
    assert said(server, run) == {"approve": approve, "name": "Ann"}
    assert server.state(run) == "Running"
    assert Prefect.find(layout).waiting() == []


def test_what_the_command_says(
    server: PrefectServer,
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recctl = runner(monkeypatch, capfd)
    for option, word, who in (([], "Approved", "root"), (["--decline"], "Declined", "Ann Lee")):
        run = make(server, "retrain-x", PAUSED)
        monkeypatch.setattr("recctl.user_identity.user", lambda: "root")
        named = ["--name", who] if who != "root" else []
        done = recctl(layout.root, "approve", *option, *named)
        assert (done.code, done.out) == (0, f"{word} by {who}: retrain-x.\n")
        assert said(server, run) == {"approve": not option, "name": who}


def test_where_nothing_can_be_answered(server: PrefectServer, layout: Layout) -> None:
    with pytest.raises(UserError, match=r"^no run waits for approval; see 'recctl status'"):
        flow_runs.answer(layout, None, approve=True, name="Ann")
    make(server, "another-flow", PAUSED, flow="backfill")
    make(server, "by-hand", {"type": "PAUSED", "name": "Paused"})
    with pytest.raises(UserError, match=r"no run waits for approval"):
        flow_runs.answer(layout, "by-hand", approve=True, name="Ann")
    first = make(server, "retrain-1", PAUSED)
    with pytest.raises(UserError, match=rf"no run 'x' waits .* waiting: retrain-1 \({first}\)$"):
        flow_runs.answer(layout, "x", approve=True, name="Ann")
    make(server, "retrain-2", PAUSED)
    with pytest.raises(UserError, match=r"2 runs wait for approval; give the id .*, retrain-2 "):
        flow_runs.answer(layout, None, approve=True, name="Ann")


def test_a_refused_answer_is_one_line(server: PrefectServer, layout: Layout) -> None:
    make(server, "odd", {**PAUSED, "state_details": {"run_input_keyset": {"schema": "none"}}})
    with pytest.raises(UserError, match="did not take the answer: Run input schema not found"):
        flow_runs.answer(layout, None, approve=True, name="Ann")


def test_a_server_that_is_down(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(UserError, match="Prefect's server is down; start the services"):
        Prefect.find(layout)
    with ports.refusing() as port:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        with pytest.raises(UserError, match="Prefect's server does not answer"):
            Prefect.find(layout)


def test_the_last_and_the_next_run(server: PrefectServer, layout: Layout) -> None:
    prefect = Prefect.find(layout)
    run = make(server, "retrain-failed", {"type": "RUNNING", "name": "Running"})
    end(server, run, "FAILED")
    late = {"scheduled_time": "2020-01-01T03:00:00Z"}
    make(server, "soon", {"type": "SCHEDULED", "name": "Late", "state_details": late})
    last, coming = prefect.last(), prefect.next()
    assert last is not None
    assert (last["name"], last["state"]["message"]) == ("retrain-failed", "because")
    assert coming is not None
    assert (coming["name"], coming["state"]["name"]) == ("soon", "Late")
    end(server, coming["id"], "CANCELLED")
