"""prefect.yaml on a real server: what it registers, and what then runs when."""

import datetime
import itertools
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import scheduled_project
from prefect.flows import load_flow_from_entrypoint
from prefect_server import PrefectServer
from ruamel.yaml import YAML

from lives import lives, wait_for
from recctl.services.server import settle

ROOT = Path(__file__).parents[2]
NIGHTLY, DAILY, MANUAL = "retrain/nightly", "evaluate-champion/daily", "backfill/manual"
OFTEN = "tick/often"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scheduled_project.make(tmp_path_factory.mktemp("scheduled") / "project", often=True)


@pytest.fixture(scope="module")
def server(prefect_server: PrefectServer, project: Path) -> Iterator[PrefectServer]:
    """The server with the project's deployments, and a worker that was started in its folder."""
    log = project.with_name("worker.log")
    with prefect_server.worker(project, "recctl", log):
        prefect_server.prefect(project, "deploy", "--all")
        yield prefect_server


def test_every_deployment_is_registered(server: PrefectServer) -> None:
    found = {
        name: [
            (schedule["schedule"]["cron"], schedule["schedule"]["timezone"], schedule["active"])
            for schedule in server.deployment(name)["schedules"]
        ]
        for name in (NIGHTLY, DAILY, MANUAL)
    }
    assert found == {
        NIGHTLY: [("0 3 * * *", "UTC", True)],
        DAILY: [("0 9 * * *", "UTC", True)],
        MANUAL: [],
    }


@pytest.mark.parametrize("name", [NIGHTLY, DAILY, MANUAL])
def test_a_deployment_runs_one_at_a_time_and_the_next_one_waits(
    server: PrefectServer, name: str
) -> None:
    deployment = server.deployment(name)
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"] == {
        "collision_strategy": "ENQUEUE",
        "grace_period_seconds": 300,
    }
    assert deployment["work_pool_name"] == "recctl"


def test_no_folder_of_the_machine_that_deploys_is_kept(
    server: PrefectServer, project: Path
) -> None:
    assert str(project) not in str(server.deployment(NIGHTLY))


def test_events_that_start_a_retraining(server: PrefectServer) -> None:
    nightly = server.deployment(NIGHTLY)["id"]
    automations = server.ask("/automations/filter", {})
    assert {
        (*automation["trigger"]["expect"], automation["actions"][0]["deployment_id"])
        for automation in automations
        if automation["enabled"]
    } == {("recctl.champion.fallen", nightly), ("recctl.data.drifted", nightly)}


def test_a_run_is_scheduled_and_fires(server: PrefectServer) -> None:
    """With a SQLAlchemy that Prefect cannot use, no run would be scheduled, without a word."""
    wait_for(
        "a scheduled run to complete",
        lambda: server.runs(OFTEN, auto_scheduled=True, state_type="COMPLETED"),
    )
    identifier = server.deployment(OFTEN)["id"]
    server.ask(f"/deployments/{identifier}", {"paused": True}, method="PATCH")


def test_events_start_retrainings_that_take_turns(server: PrefectServer, project: Path) -> None:
    (project / "turns.txt").unlink(missing_ok=True)
    emit(server, "recctl.data.drifted", "retrain")  # it is at work already: starts nothing
    emit(server, "recctl.champion.fallen", "evaluate-champion")
    emit(server, "recctl.data.drifted", "evaluate-champion")
    wait_for(
        "two runs to complete", lambda: len(automated(server, state_type="COMPLETED")) >= 2, 240.0
    )
    assert len(automated(server)) == 2
    lines = (project / "turns.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["begin", "end", "begin", "end"]
    times = [float(line.split()[1]) for line in lines]
    assert times == sorted(times)


def automated(server: PrefectServer, **which: Any) -> list[Any]:
    """Runs that an event started, not those of the schedule, of which the server makes more."""
    runs = server.runs(NIGHTLY, **which)
    return [run for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION"]


def emit(server: PrefectServer, name: str, seen_by: str) -> None:
    event: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "event": name,
        "occurred": datetime.datetime.now(datetime.UTC).isoformat(),
        "resource": {"prefect.resource.id": "recctl.project.tiny", "recctl.seen-by": seen_by},
    }
    server.ask("/events", [event])


def test_cancelling_a_run_ends_the_stage_that_it_runs(server: PrefectServer, project: Path) -> None:
    pid_file = project / "pid.txt"
    run = server.run(NIGHTLY, stage="slow")
    text = wait_for("the stage to run", lambda: pid_file.exists() and pid_file.read_text())
    stage = psutil.Process(int(text))
    family = [stage, *itertools.takewhile(lambda p: "prefect" not in str(p.cmdline()),
                                          stage.parents())]  # fmt: skip
    server.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    wait_for("the stage and DVC to end", lambda: not any(lives(one.pid) for one in family))
    wait_for("the run to be cancelled", lambda: server.state(run) == "Cancelled")


def test_runs_whose_processes_are_gone_are_ended_and_suspended_ones_wait_on(
    server: PrefectServer,
) -> None:
    gone, suspended = (
        server.run_in_state(MANUAL, {"type": "RUNNING"}),
        server.run_in_state(
            MANUAL, {"type": "PAUSED", "state_details": {"pause_reschedule": True}}
        ),
    )
    # A run of the schedule may be under way: then there is more than one to end.
    assert settle(server.api, "CANCELLED", "stopped by a test") >= 1
    assert [server.state(run) for run in (gone, suspended)] == ["Cancelled", "Paused"]


def entrypoints() -> dict[str, str]:
    """The real prefect.yaml's entrypoints by deployment name."""
    content = YAML(typ="safe").load(ROOT / "prefect.yaml")
    return {entry["name"]: entry["entrypoint"] for entry in content["deployments"]}


@pytest.mark.parametrize("full_name", [NIGHTLY, DAILY, MANUAL])
def test_an_entrypoint_is_the_flow_of_that_name(
    full_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    flow, name = full_name.split("/")
    assert load_flow_from_entrypoint(entrypoints()[name]).name == flow
