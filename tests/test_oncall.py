"""`recctl status`: every line says one thing, however much of the project is missing."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny

import web
from commands import runner
from recctl import lock, oncall
from recctl.doctor import Check
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger import aliases
from recctl.promotion.ledger.local import LocalRegistry
from recctl.retraining import record
from recctl.retraining.record import Record
from recctl.services import down
from recctl.services.flow_runs import Prefect

ALL = [
    *("champion", "monitoring", "retraining", "schedule", "approval", "data", "log", "disk"),
    *("prefect", "mlflow", "serve", "worker"),
]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bare(tmp_path: Path) -> Layout:
    """A project without data, registry, artifacts and services."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    tiny.set_params(tmp_path, promotion=tiny.POLICY)
    return Layout(tmp_path)


@pytest.fixture
def served(tmp_path: Path, quick_decisions: None) -> Layout:
    """A project whose first version serves."""
    layout = tiny.make(tmp_path / "project")
    tiny.promote(layout, 1e6)
    return layout


def test_where_everything_is_missing_each_line_says_one_thing(
    bare: Layout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = runner(monkeypatch, capfd)(bare.root, "status", "--json")
    content = json.loads(done.out)
    found = {check["name"]: check for check in content["checks"]}
    assert (done.code, content["well"]) == (2, False)
    assert list(found) == ALL
    assert {name: check["found"] for name, check in found.items() if name != "disk"} == {
        "champion": "no version serves yet",
        "monitoring": "the champion was not monitored yet ('recctl monitor')",
        "retraining": "none has been recorded here yet",
        "schedule": "not known: Prefect's server is down",
        "approval": "not known: Prefect's server is down",
        "data": "no data.dvc",
        "log": "nothing was ingested yet",
        "prefect": "down",
        "mlflow": "down",
        "serve": "down",
        "worker": "down",
    }
    assert all(bool(check["fix"]) == (check["state"] != "ok") for check in content["checks"])
    assert not (bare.root / "mlflow.db").exists()


def test_what_a_person_sees(
    bare: Layout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = runner(monkeypatch, capfd)(bare.root, "status")
    assert "no version serves yet" in done.out
    assert "to do: train one and let it be judged: 'dvc repro', 'recctl promote'" in done.out
    assert done.out.count("start the services: 'recctl up'") == 5
    last = "Not well: champion, schedule, approval, data, log, prefect, serve, worker."
    assert done.out.splitlines()[-1] == last


# Who serves


def champion(layout: Layout) -> Check:
    return oncall.doctor.guarded("champion", lambda: oncall._champion(layout))


def test_the_champion_since_when_and_by_which_decision(served: Layout) -> None:
    tiny.promote(served, 1e6)  # nothing changes
    found = champion(served)
    assert (found.state, found.fix) == ("ok", None)
    assert found.found.startswith("version 1 of 'tiny' since 20")
    assert "UTC, by decision 1 (PROMOTED): first model" in found.found
    assert (found.values["version"], found.values["decision"]) == (1, 1)
    tiny.promote(served, 10.0)
    tiny.rollback(served)
    back = champion(served)
    assert "version 1 of 'tiny' since 20" in back.found
    assert "by decision 3 (ROLLED BACK)" in back.found


def test_a_local_database_is_read_as_mlflow_reads_it(served: Layout) -> None:
    tiny.promote(served, 10.0)
    tiny.promote(served, 1e9)
    registry = history.open_registry(served)
    registry.client.delete_model_version("tiny", "3")
    local = LocalRegistry(served.root / "mlflow.db", "tiny")
    assert local.entries() == registry.entries()
    assert local.shown() == registry.shown()
    assert local.versions() == list(reversed(registry.versions()))
    assert [local.holds(number) for number in (1, 2, 3)] == [True, True, False]
    assert aliases.serving(local) == aliases.serving(registry)
    local.reach(local.version(2))


def test_an_alias_that_was_moved_by_hand(served: Layout) -> None:
    tiny.promote(served, 10.0)
    history.open_registry(served).move_alias("champion", 1)
    found = champion(served)
    assert found.state == "blocked"
    assert "version 2 of 'tiny' since" in found.found
    assert found.found.endswith("the aliases differ from the log of decisions")
    assert found.fix == "see 'recctl verify'"


def test_a_champion_whose_files_are_gone(served: Layout) -> None:
    next(served.root.glob("mlartifacts/**/model/MLmodel")).unlink()
    found = champion(served)
    assert found.state == "blocked"
    assert "the files of version 1 of 'tiny' are gone: no file" in found.found
    assert "recctl rollback" in (found.fix or "")


def test_a_database_with_other_tables_is_asked_through_mlflow(served: Layout) -> None:
    with sqlite3.connect(served.root / "mlflow.db") as connection:
        connection.execute("ALTER TABLE model_versions RENAME COLUMN source TO origin")
    found = champion(served)
    assert found.state == "blocked"
    assert "MLflow" in found.found  # its client does not know these tables either


@pytest.mark.parametrize(
    ("verdict", "version", "state"),
    [("holds", 1, "ok"), ("fallen", 1, "warning"), ("fallen", 7, "ok")],
)
def test_monitoring(served: Layout, verdict: str, version: int, state: str) -> None:
    served.monitoring.mkdir(parents=True)
    report = {"verdict": verdict, "version": version, "sentence": "So it is."}
    (served.monitoring / "report.json").write_text(json.dumps(report))
    found = {check.name: check for check in oncall.checks(served)}["monitoring"]
    assert (found.state, bool(found.fix)) == (state, state == "warning")
    assert found.found.endswith("So it is.")


# The HTTP service


@pytest.mark.parametrize(
    ("status", "version", "problem", "says"),
    [
        (200, 3, None, "version 3"),
        (200, 3, "the decision log is damaged", "version 3: the decision log is damaged"),
        (503, None, "no version\nserves yet", "version none: no version serves yet"),
        (200, 0, None, "no answer"),
    ],
)
def test_the_service_and_its_version(
    bare: Layout,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    version: int | None,
    problem: str | None,
    says: str,
) -> None:
    body = json.dumps({"version": version, "problem": problem}).encode()
    monkeypatch.setattr(oncall.processes, "listens", lambda *given: version != 0)
    with web.serving(lambda asked: web.send(asked, status, body)) as address:
        state = down.State("serve", "up", address, 7, "serve.log")
        monkeypatch.setattr(down, "status", lambda layout: [state])
        (found,) = oncall.services(bare)
    assert found.found == f"up {address}, {says}"
    assert found.state == ("ok" if says == "version 3" else "warning")
    assert bool(found.fix) == (found.state == "warning")
    assert not oncall.is_missed([found])


# Runs


@pytest.mark.parametrize(
    ("last", "state", "says"),
    [
        (Record("k", "done", "promoted", "it is better", 4, 9), "ok", "last promoted, 20"),
        (Record("k", "done", "suspicious", "too good", 4, 9), "warning", "last suspicious, 20"),
        (Record("k", "begun", "refused", "no users", None, 9), "warning", "last refused, 20"),
        (Record("k", "begun"), "warning", "last begun, 20"),
        (Record("k", "decided", "rejected", "worse", 4, 9), "warning", "last decided (rejected)"),
    ],
)
def test_the_last_retraining(bare: Layout, last: Record, state: str, says: str) -> None:
    record.write(bare, last)
    found = oncall._retraining(bare)
    assert (found.state, found.found[: len(says)]) == (state, says)
    assert (found.fix is None) == (state == "ok")


def test_a_retraining_that_runs_is_named(bare: Layout) -> None:
    record.write(bare, Record("k", "begun"))
    with lock.held(bare, "the flow run x") as held:
        held.doing("train")
        found = oncall._retraining(bare)
    assert found.state == "ok"
    assert found.found.startswith("now the flow run x (pid ")
    assert "now at 'train'; last begun, 20" in found.found


def flow_run(kind: str, name: str, **more: Any) -> dict[str, Any]:
    at = "2026-03-01T03:10:00.5Z"
    state = {"type": kind, "name": name, "timestamp": at, "message": "no room"}
    return {"id": "11-22", "name": "retrain-x", "state": state, "expected_start_time": at, **more}


@pytest.mark.parametrize(
    ("last", "coming", "says", "fix"),
    [
        (
            flow_run("COMPLETED", "Rejected"),
            flow_run("SCHEDULED", "Scheduled"),
            "last run retrain-x, Rejected, 2026-03-01 03:10 UTC; next 2026-03-01 03:10 UTC",
            None,
        ),
        (
            flow_run("FAILED", "Refused"),
            flow_run("SCHEDULED", "Scheduled"),
            "last run retrain-x, Refused, 2026-03-01 03:10 UTC: no room; next 2026-03-01 03:10 UTC",
            "its log: 'prefect flow-run logs 11-22'",
        ),
        (
            None,
            flow_run("SCHEDULED", "Late"),
            "a run is late since 2026-03-01 03:10 UTC",
            "see that a worker runs: 'recctl up'",
        ),
        (None, None, "no run is scheduled", "register the schedule of prefect.yaml: 'recctl up'"),
    ],
)
def test_the_schedule(last: Any, coming: Any, says: str, fix: str | None) -> None:
    found = oncall._schedule(last, coming)
    assert (found.found, found.fix) == (says, fix)
    assert (found.state == "ok") == (fix is None)


def test_what_waits_for_a_person(bare: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answers(Prefect):
        def runs(self, *states: str, sort: str, limit: int) -> list[dict[str, Any]]:
            if states != ("PAUSED",):
                return []
            run = flow_run("PAUSED", "Paused")
            asked = run | {
                "state": run["state"] | {"state_details": {"run_input_keyset": {"a": 1}}}
            }
            return [run | {"state": run["state"] | {"state_details": {}}}, asked]

    monkeypatch.setattr(Prefect, "find", lambda layout: Answers("", ""))
    schedule, approval = oncall._runs(bare)
    assert schedule.found == "no run is scheduled"
    assert approval.found == "waiting for a person: retrain-x, since 2026-03-01 03:10 UTC"
    assert approval.fix == "'recctl approve retrain-x', or with --decline"
    assert oncall._approval([]).found == "nothing waits for a person"


# Data


def ingested(layout: Layout, rules: list[dict[str, str]] | None, **changes: Any) -> Check:
    layout.interactions.mkdir(parents=True, exist_ok=True)
    (layout.interactions / "report.json").write_text(
        json.dumps({"rows_in": 200, "quarantined": 3, **changes})
    )
    if rules is not None:
        layout.validation.mkdir(parents=True)
        (layout.validation / "report.json").write_text(json.dumps({"rules": rules}))
    return oncall._log(layout)


def test_the_log_its_quarantine_and_age(bare: Layout) -> None:
    newest = (datetime.now(UTC) - timedelta(days=3, hours=1)).isoformat(timespec="seconds")
    found = ingested(bare, [{"rule": "schema", "verdict": "passed"}], last_time=newest)
    day = newest[:10]
    assert found.found == (
        f"1.5% of 200 rows in quarantine; newest interaction {day} {newest[11:16]} UTC, 3 days old;"
        " 1 expectations, none failed"
    )
    assert (found.state, found.values["quarantine_share"]) == ("ok", 3 / 200)


def test_a_log_without_times_that_failed_its_validation(bare: Layout) -> None:
    found = ingested(bare, [{"rule": "volume-break", "verdict": "failed"}])
    assert found.found == "1.5% of 200 rows in quarantine; failed expectations: volume-break"
    assert found.fix == "see artifacts/validation/report.json"


def test_a_log_that_was_not_validated(bare: Layout) -> None:
    assert ingested(bare, None).found == "1.5% of 200 rows in quarantine; not validated"


def test_a_damaged_report_is_one_line(bare: Layout) -> None:
    bare.interactions.mkdir(parents=True)
    (bare.interactions / "report.json").write_text("{")
    found = {check.name: check for check in oncall.checks(bare)}["log"]
    assert found.state == "blocked"
    assert "\n" not in found.found
    with pytest.raises(UserError, match=r"report\.json"):
        oncall._log(bare)
