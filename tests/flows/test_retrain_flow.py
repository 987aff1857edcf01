"""The flows on a real server: names, states, artifacts, retries, approval, events, no secrets."""

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import small_project as small
from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.flows import load_flow_from_entrypoint
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect_server import PrefectServer

import webhooks
from lives import wait_for
from recctl import lock, pipeline
from recctl.datasets.download import download
from recctl.errors import MayPass, UserError
from recctl.intake import url
from recctl.layout import Layout
from recctl.notify import deliver
from recctl.promotion import history
from recctl.services import flow_runs
from webhooks import Webhook

pytestmark = pytest.mark.usefixtures("quick_decisions")

FLOWS = Path(__file__).parents[2] / "flows"


@pytest.fixture(scope="module")
def server(prefect_server: PrefectServer) -> Iterator[PrefectServer]:
    """The server, and flows of this process that talk to it."""
    settings = {PREFECT_API_URL: prefect_server.api, PREFECT_HOME: prefect_server.home}
    with temporary_settings(settings):
        yield prefect_server
        APILogWorker.drain_all(timeout=10)  # or Prefect waits at exit for a server that is gone
        EventsWorker.drain_all(timeout=10)


@pytest.fixture(scope="module")
def retrain(server: PrefectServer) -> Flow[Any, Any]:
    return load_flow_from_entrypoint(f"{FLOWS}/retrain.py:retrain")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, retrain: Flow[Any, Any]) -> None:
    """The project's own MLflow, stages that run here, retries without a wait."""
    monkeypatch.setattr(pipeline, "stage", small.stage)
    monkeypatch.setattr(sys.modules["in_prefect"], "RETRIES", (0.0, 0.0))
    monkeypatch.setattr(url, "download", partial(download, pause=0.0))
    monkeypatch.setattr(deliver, "WAITS", (0.0,))


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    return small.make(tmp_path / "project")


@pytest.fixture
def webhook(project: Layout) -> Iterator[Webhook]:
    """Gets the project's notices."""
    with webhooks.listening() as found:
        small.settings(project, notify={"addresses": [found.address]})
        yield found


class Run:
    """A flow run that has ended, as the server shows it."""

    def __init__(self, server: PrefectServer, flow: str, state: State[Any]) -> None:
        self.server = server
        self.id = str(state.state_details.flow_run_id)
        found = server.ask(f"/flow_runs/{self.id}")
        named = re.fullmatch(rf"{flow}-([\d-]{{10}})-(.+)", found["name"])
        assert named, found["name"]
        assert named[1] in (found["start_time"][:10], found["end_time"][:10])  # past midnight
        self.ending = named[2]
        self.state = (found["state"]["type"], found["state"]["name"])
        self.message = found["state"]["message"]

    def _of(self, path: str, **more: Any) -> list[dict[str, Any]]:
        wanted = {"flow_runs": {"id": {"any_": [self.id]}}, "sort": "ID_DESC", **more}
        found: list[dict[str, Any]] = self.server.ask(path, wanted)
        return found

    def artifacts(self) -> dict[str, str]:
        """By key, as text."""
        return {one["key"]: str(one["data"]) for one in self._of("/artifacts/filter")}

    def tries(self, last: str) -> dict[str, int]:
        """How often each task ran, once the server knows how the `last` one ended.

        Prefect reports it in the background, in the order of the events.
        """

        def found() -> dict[str, int] | None:
            tasks = {one["name"]: one for one in self._of("/task_runs/filter")}
            if tasks.get(last, {}).get("state_type") not in ("COMPLETED", "FAILED"):
                return None
            return {name: one["run_count"] for name, one in tasks.items()}

        counts: dict[str, int] = wait_for(f"the end of the task {last}", found)
        return counts

    def logs(self, until: str) -> str:
        """What was logged, once the server was sent the line with `until`."""
        wanted = {"logs": {"flow_run_id": {"any_": [self.id]}}, "sort": "TIMESTAMP_ASC"}

        def found() -> str | None:
            lines = "\n".join(one["message"] for one in self.server.ask("/logs/filter", wanted))
            return lines if until in lines else None

        logged: str = wait_for(f"a line of the log with {until}", found)
        return logged


def go(server: PrefectServer, flow: Flow[Any, Any], layout: Layout, **parameters: Any) -> Run:
    state = flow(project=layout.root, return_state=True, **parameters)
    return Run(server, flow.name, state)


def champion(layout: Layout) -> int | None:
    return history.open_registry(layout).aliases().get("champion")


def test_a_run_shows_what_it_came_to(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECCTL_MLFLOW_UI", "http://127.0.0.1:5000")
    small.drop(project, 10, 11)
    first = go(server, retrain, project)
    assert (first.ending, first.state) == ("promoted-v1", ("COMPLETED", "Promoted"))
    shown = first.artifacts()
    assert set(shown) == {"intake", "validation", "metrics", "decision", "mlflow-run"}
    assert "Decision 1: promotion of tiny, PROMOTED" in shown["decision"]
    assert "days-10-11.csv" in shown["intake"]
    assert "http://127.0.0.1:5000/#/runs/" in shown["mlflow-run"]
    stages = ["ingest", "validate", "sequence-split", "train", "evaluate"]
    steps = {"check", "sync", "intake", *stages, "promote", "publish"}
    assert first.tries("publish") == dict.fromkeys(steps, 1)

    small.settings(project, train={"device": "cpu", "model": "popularity"})
    second = go(server, retrain, project)
    assert (second.ending, second.state) == ("rejected", ("COMPLETED", "Rejected"))
    assert "NDCG@10" in second.message

    began = time.monotonic()
    third = go(server, retrain, project)
    assert (third.ending, third.state) == ("nothing-new", ("COMPLETED", "NothingNew"))
    assert "nothing new, nothing to do" in third.message
    assert set(third.tries("intake")) == {"check", "sync", "intake"}
    assert time.monotonic() - began < 30
    assert champion(project) == 1


def test_failed_data_fails_the_run_at_the_first_try(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, webhook: Webhook
) -> None:
    (project.root / "bad-data").touch()
    run = go(server, retrain, project)
    assert (run.ending, run.state) == ("validate-failed", ("FAILED", "Failed"))
    assert run.tries("validate")["validate"] == 1
    first = run.artifacts()["validation"].splitlines()[2]
    assert first.startswith("| volume-break | failed |")
    assert champion(project) is None
    assert webhook.titles == ["recctl: New data was rejected"]
    assert f"flow-run/{run.id}" in webhook.messages[0]["message"]


def test_what_may_pass_is_tried_again_and_nothing_else(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [MayPass("the server is away"), MayPass("still away")]

    def flaky(layout: Layout, name: str, on_line: Any, *, lock: object = None) -> Any:
        if name == "train" and left:
            raise left.pop()
        return small.stage(layout, name, on_line)

    monkeypatch.setattr(pipeline, "stage", flaky)
    run = go(server, retrain, project)
    assert run.state == ("COMPLETED", "Promoted")
    tries = run.tries("publish")
    assert (tries["train"], tries["ingest"]) == (3, 1)

    left[:] = [UserError("not to be fixed by waiting")]  # type: ignore[list-item]
    small.settings(project, train={"device": "cpu", "seed": 5})
    failed = go(server, retrain, project)
    assert failed.state[0] == "FAILED"
    assert failed.tries("train")["train"] == 1


def answer(server: PrefectServer, ending: str, approve: bool) -> threading.Thread:
    """Resume the run whose name ends so once it is paused, as a person does in the UI."""

    def resume() -> None:
        wanted = {"flow_runs": {"name": {"like_": ending}, "state": {"type": {"any_": ["PAUSED"]}}}}
        found = wait_for("a paused run", lambda: server.ask("/flow_runs/filter", wanted))
        path = f"/flow_runs/{found[0]['id']}/resume"
        body = {"run_input": {"approve": approve, "name": "Ann"}}
        # it is shown as paused a moment before it can be answered
        wait_for("the answer to be taken", lambda: server.ask(path, body)["status"] == "ACCEPT")

    thread = threading.Thread(target=resume, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("approve", "ending", "state"),
    [(True, "promoted-v1", "Promoted"), (False, "not-promoted", "NotPromoted")],
)
def test_a_person_answers_in_the_ui(
    server: PrefectServer,
    retrain: Flow[Any, Any],
    project: Layout,
    webhook: Webhook,
    approve: bool,
    ending: str,
    state: str,
) -> None:
    small.settings(project, retrain={"approval": "manual"})
    thread = answer(server, "awaits-approval", approve)
    run = go(server, retrain, project)
    thread.join()
    assert (run.ending, run.state) == (ending, ("COMPLETED", state))
    assert champion(project) == (1 if approve else None)
    assert "WOULD BE PROMOTED" in run.artifacts()["decision"] or approve
    decided = history.open_registry(project).entries()
    assert [one.content["approved_by"] for one in decided] == (["Ann"] if approve else [])
    promoted = ["recctl: Decision 1: promotion of tiny, PROMOTED"] if approve else []
    assert webhook.titles == ["recctl: A model of tiny waits for approval", *promoted]
    assert f"flow-run/{run.id}" in webhook.messages[0]["message"]


def test_a_person_answers_at_the_terminal(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server.api)
    small.settings(project, retrain={"approval": "manual"})

    def approved() -> bool:
        with suppress(UserError):  # not yet asked, or shown as paused a moment before it is
            return bool(flow_runs.answer(project, None, approve=True, name="Ann"))
        return False

    thread = threading.Thread(target=wait_for, args=("a question", approved), daemon=True)
    thread.start()
    run = go(server, retrain, project)
    thread.join()
    assert run.state == ("COMPLETED", "Promoted")
    decided = history.open_registry(project).entries()
    assert [one.content["approved_by"] for one in decided] == ["Ann"]


def test_no_answer_is_no(server: PrefectServer, retrain: Flow[Any, Any], project: Layout) -> None:
    small.settings(project, retrain={"approval": "manual", "approval_hours": 4 / 3600})
    run = go(server, retrain, project)
    assert (run.ending, run.state) == ("not-promoted", ("COMPLETED", "NotPromoted"))
    assert champion(project) is None


def test_a_no_that_the_server_did_not_take_is_said_again(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_prefect = sys.modules["in_prefect"]
    resume = in_prefect.flow_runs.resume_flow_run
    left = [httpx.ConnectError("the server is away"), RuntimeError("Cannot resume this run")]
    taken: list[Any] = []

    def away(run: Any, run_input: Any) -> None:
        if left:
            raise left.pop()
        resume(run, run_input=run_input)
        taken.append(run)

    monkeypatch.setattr(in_prefect.flow_runs, "resume_flow_run", away)
    monkeypatch.setattr(in_prefect, "ANSWER_AGAIN", 0.1)
    monkeypatch.setattr(in_prefect, "PAUSE_LONGER", 60)
    small.settings(project, retrain={"approval": "manual", "approval_hours": 2 / 3600})
    run = go(server, retrain, project)
    assert (run.ending, run.state) == ("not-promoted", ("COMPLETED", "NotPromoted"))
    assert [str(one) for one in taken] == [run.id]


def test_a_pause_that_runs_out_is_no(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes no answer for as long as the pause lasts."""
    in_prefect = sys.modules["in_prefect"]

    def away(run: Any, run_input: Any) -> None:
        raise httpx.ConnectError("the server is away")

    monkeypatch.setattr(in_prefect.flow_runs, "resume_flow_run", away)
    monkeypatch.setattr(in_prefect, "PAUSE_LONGER", 0)
    small.settings(project, retrain={"approval": "manual", "approval_hours": 2 / 3600})
    run = go(server, retrain, project)
    assert (run.ending, run.state) == ("not-promoted", ("COMPLETED", "NotPromoted"))
    assert champion(project) is None
    states = server.ask(f"/flow_run_states/?flow_run_id={run.id}")
    assert [one["name"] for one in states][-2:] == ["Running", "NotPromoted"]
    assert go(server, retrain, project).state == ("COMPLETED", "NothingNew")


def test_a_project_that_is_held_ends_the_run_in_words(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout
) -> None:
    with lock.held(project, "Bob's 'recctl retrain'"):
        run = go(server, retrain, project, wait_minutes=0.0)
    assert (run.ending, run.state) == ("busy", ("COMPLETED", "Busy"))
    assert "Bob's 'recctl retrain'" in run.message


def test_secrets_stay_out_of_all_that_is_kept(
    server: PrefectServer, retrain: Flow[Any, Any], project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql+psycopg2://ann:s3cr3t@127.0.0.1:9/shop")
    monkeypatch.setenv("WEB_URL", "http://127.0.0.1:9/log.csv?token=t0k3n")
    query = {"query": "select 1 as id where 1 > :watermark", "watermark": "id"}
    shop = {"kind": "sql", "name": "shop", "url": "env:SHOP_URL", **query}
    web = {"kind": "url", "name": "web", "address": "env:WEB_URL"}
    small.settings(project, intake={"sources": [shop, web]})
    monkeypatch.setenv("HOOK_KEY", "h00k-key")
    address = "json://ann:${HOOK_KEY}@127.0.0.1:9/${HOOK_KEY}"
    small.settings(project, notify={"addresses": [address]})
    run = go(server, retrain, project)
    assert run.state[0] == "FAILED"
    assert run.tries("intake")["intake"] == 3  # a database that is away may pass
    logs = run.logs(until="Flow run encountered an exception")
    kept = logs + str(run.artifacts()) + str(server.ask(f"/flow_runs/{run.id}"))
    assert "127.0.0.1" in kept
    assert "s3cr3t" not in kept
    assert "t0k3n" not in kept
    assert "no notice to address 1 (json): A Connection error occurred" in kept
    assert "h00k-key" not in kept


@pytest.fixture(scope="module")
def evaluate(server: PrefectServer) -> Flow[Any, Any]:
    return load_flow_from_entrypoint(f"{FLOWS}/evaluate_champion.py:evaluate_champion")


def test_without_a_champion_there_is_nothing_to_evaluate(
    server: PrefectServer, evaluate: Flow[Any, Any], project: Layout
) -> None:
    run = go(server, evaluate, project)
    assert run.state == ("COMPLETED", "NoChampion")
    assert "promote a model first" in run.message


def test_a_fallen_champion_is_an_event(
    server: PrefectServer,
    evaluate: Flow[Any, Any],
    retrain: Flow[Any, Any],
    project: Layout,
    webhook: Webhook,
) -> None:
    go(server, retrain, project)
    holds = go(server, evaluate, project)
    assert holds.state == ("COMPLETED", "NothingAfterItsTraining")
    late = small.days(10, 12)
    late["item"] = [f"never-seen-{number % 7}" for number in range(len(late))]
    (project.root / "incoming").mkdir()
    late.to_csv(project.root / "incoming" / "late.csv", index=False)
    fallen = go(server, evaluate, project)
    assert fallen.state == ("COMPLETED", "Fallen")
    assert "cold" in fallen.artifacts()["champion"]
    wanted = {"filter": {"event": {"name": ["recctl.champion.fallen"]}}, "limit": 10}

    def announced() -> list[dict[str, Any]]:
        found = server.ask("/events/filter", wanted)["events"]
        return [one for one in found if "sentence" in one["payload"]]  # not another test's

    (event,) = wait_for("the event", announced)
    assert event["resource"]["prefect.resource.id"] == "recctl.project.tiny"
    assert event["resource"]["recctl.seen-by"] == "evaluate-champion"
    assert event["payload"]["sentence"].startswith("Fallen: NDCG@10 of version 1 is .0000")
    assert webhook.titles[1:] == ["recctl: The champion of tiny, version 1, has fallen"]
    assert webhook.messages[1]["message"].startswith(event["payload"]["sentence"])
