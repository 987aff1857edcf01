"""Services as processes of any kind: found again, never mistaken, ended with all they started."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from mlflow.server.constants import (
    ARTIFACT_ROOT_ENV_VAR,
    ARTIFACTS_DESTINATION_ENV_VAR,
    BACKEND_STORE_URI_ENV_VAR,
    REGISTRY_STORE_URI_ENV_VAR,
    SERVE_ARTIFACTS_ENV_VAR,
)

import ports
from lives import lives, wait_for
from recctl.cli import services as commands
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.services import environment, processes, server
from recctl.services import up as bring_up
from recctl.services.down import down, status
from recctl.services.processes import Service

SLEEPS = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPS
FAMILY = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {SLEEPS!r}], start_new_session=True)
time.sleep(600)
"""
"""A service whose child puts itself into its own session, as Prefect's flows do."""


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    layout = Layout(tmp_path.resolve())
    for name in ("dvc.yaml", "params.yaml", "prefect.yaml"):
        (layout.root / name).touch()
    yield layout
    for name in processes.NAMES:
        processes.stop(layout, name, grace=0.2)


def start(layout: Layout, name: str, script: str, port: int | None = None) -> Service:
    command = [sys.executable, "-c", script]
    return processes.start(layout, name, command, os.environ, port=port)


def family(layout: Layout, name: str) -> list[int]:
    return [process.pid for process in processes.descendants(layout, name)]


def test_what_is_started_is_known_and_alive(layout: Layout) -> None:
    service = start(layout, "worker", SLEEPS, port=4321)
    assert processes.running(layout, "worker") == service
    assert (service.address, os.getsid(service.pid)) == ("http://127.0.0.1:4321", service.pid)


def test_stopping_ends_children_in_other_sessions(layout: Layout) -> None:
    start(layout, "worker", FAMILY)
    wait_for("its child", lambda: len(family(layout, "worker")) == 2)
    pids = family(layout, "worker")
    assert processes.stop(layout, "worker")
    assert not any(lives(pid) for pid in pids)
    assert not processes.state_file(layout, "worker").exists()


def test_what_a_killed_service_left_is_ended(layout: Layout) -> None:
    service = start(layout, "worker", FAMILY)
    wait_for("its child", lambda: len(family(layout, "worker")) == 2)
    os.kill(service.pid, signal.SIGKILL)
    wait_for("its end", lambda: processes.running(layout, "worker") is None)
    assert len(family(layout, "worker")) == 1
    assert processes.stop(layout, "worker")
    assert family(layout, "worker") == []


def test_what_does_not_obey_is_killed(layout: Layout) -> None:
    service = start(layout, "mlflow", STUBBORN)
    wait_for("its handler", lambda: "SigIgn" not in ignored(service.pid))
    assert processes.stop(layout, "mlflow", grace=0.3)
    assert not processes.is_alive(layout, service)


def ignored(pid: int) -> str:
    """`SigIgn` until the process ignores SIGTERM, where there is /proc."""
    file = Path(f"/proc/{pid}/status")
    if not file.exists():
        return ""
    line = next(line for line in file.read_text().splitlines() if line.startswith("SigIgn"))
    return "" if int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1) else line


def test_another_process_of_the_same_number_is_left_alone(layout: Layout) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", SLEEPS], start_new_session=True)
    try:
        service = Service("prefect", stranger.pid, time.time(), [], None, None, {})
        path = processes.state_file(layout, "prefect")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(vars(service)))
        wait_for(
            "its command line", lambda: psutil.Process(stranger.pid).cmdline()[-1:] == [SLEEPS]
        )
        assert processes.running(layout, "prefect") is None
        assert not processes.stop(layout, "prefect")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_another_projects_service_is_left_alone(layout: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other")
    other.root.mkdir()
    service = start(other, "worker", SLEEPS)
    assert not processes.stop(layout, "worker")
    assert processes.is_alive(other, service)
    assert processes.stop(other, "worker", grace=2)


def test_a_damaged_state_file_counts_as_none(layout: Layout) -> None:
    start(layout, "worker", SLEEPS)
    processes.state_file(layout, "worker").write_text('{"pid": 1')
    assert processes.known(layout, "worker") is None
    assert down(layout) == ["worker"]


def test_down_with_nothing_up_removes_a_settings_file_of_ours(layout: Layout) -> None:
    environment.write_settings(layout, "http://127.0.0.1:4200/api")
    assert down(layout) == []
    assert not environment.settings_file(layout).exists()


def test_down_leaves_a_foreign_settings_file(layout: Layout) -> None:
    environment.settings_file(layout).write_text('[api]\nurl = "https://prefect.example/api"\n')
    assert down(layout) == []
    assert environment.settings_file(layout).exists()


def test_up_refuses_a_foreign_settings_file(layout: Layout) -> None:
    environment.settings_file(layout).write_text('[api]\nurl = "https://prefect.example/api"\n')
    with pytest.raises(UserError, match=r"prefect\.toml was not written by 'recctl up'"):
        bring_up.up(layout, print)
    assert status(layout)[0].state == "down"


def test_up_without_deployments_is_refused(layout: Layout) -> None:
    (layout.root / "prefect.yaml").unlink()
    with pytest.raises(UserError, match=r"no file .*prefect\.yaml"):
        bring_up.up(layout, print)


def test_one_up_or_down_at_a_time(layout: Layout) -> None:
    with bring_up.busy(layout), pytest.raises(UserError, match="another 'recctl up'"):
        down(layout)


def test_status_distinguishes_running_and_dead_services(layout: Layout) -> None:
    start(layout, "prefect", SLEEPS, port=4321)
    service = start(layout, "worker", SLEEPS)
    os.kill(service.pid, signal.SIGKILL)
    wait_for("its end", lambda: processes.running(layout, "worker") is None)
    assert [(state.name, state.state) for state in status(layout)] == [
        ("prefect", "up"),
        ("mlflow", "down"),
        ("serve", "down"),
        ("worker", "dead"),
    ]


@pytest.mark.parametrize(
    ("there", "code"),
    [
        (["prefect", "mlflow", "serve", "worker"], 0),
        (["prefect", "serve", "worker"], 0),  # MLflow is a server of the team's
        (["prefect", "mlflow", "worker"], 2),
        (["prefect", "mlflow", "serve"], 2),
        (["mlflow", "serve", "worker"], 2),
        ([], 2),
    ],
)
def test_status_ends_with_2_unless_all_are_up(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, there: list[str], code: int
) -> None:
    monkeypatch.chdir(layout.root)
    for name in there:
        start(layout, name, SLEEPS)
    assert exit_code(commands.status) == code


def exit_code(command: Callable[[], None]) -> int:
    try:
        command()
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_ending_the_flows_of_a_killed_worker_is_said(layout: Layout) -> None:
    said: list[str] = []
    nobody = "http://127.0.0.1:1/api"
    bring_up._end_orphans(layout, nobody, said.append)
    assert said == []
    service = start(layout, "worker", FAMILY)
    wait_for("its child", lambda: len(family(layout, "worker")) == 2)
    os.kill(service.pid, signal.SIGKILL)
    wait_for("its end", lambda: processes.running(layout, "worker") is None)
    bring_up._end_orphans(layout, nobody, said.append)
    assert said == [
        "ended the flows of a killed worker; the next run continues from its checkpoint"
    ]
    assert family(layout, "worker") == []


def test_the_error_of_a_service_that_ends_as_it_starts_has_its_last_line(layout: Layout) -> None:
    service = start(layout, "prefect", "import sys; print('a', flush=True); sys.exit('no room')")
    with pytest.raises(UserError, match=r"prefect ended while it started \(no room\)"):
        bring_up._wait(layout, service, lambda: False)


def test_the_last_words_of_a_service_outlive_its_next_start(layout: Layout) -> None:
    for word in ("first", "second"):
        service = start(layout, "prefect", f"print('{word}')")
        wait_for("its end", lambda service=service: not processes.is_alive(layout, service))
    log = processes.log_file(layout, "prefect")
    assert [processes.last_line(log), processes.last_line(Path(f"{log}.1"))] == ["second", "first"]


def test_what_was_started_is_stopped_when_the_rest_fails(layout: Layout) -> None:
    environment.write_settings(layout, "http://127.0.0.1:1/api")
    before = start(layout, "mlflow", SLEEPS)
    with pytest.raises(KeyboardInterrupt):
        interrupted_up(layout)
    assert processes.running(layout, "mlflow") == before
    assert family(layout, "prefect") == []
    assert not environment.settings_file(layout).exists()


def interrupted_up(layout: Layout) -> None:
    """Start what is missing, one of two, and be interrupted."""
    with bring_up._stopping_on_failure(layout) as started:
        for name in ("mlflow", "prefect"):
            service = bring_up._ensure(
                layout, name, started, functools.partial(start, layout, name, SLEEPS)
            )
            assert processes.is_alive(layout, service)
        assert started == ["prefect"]
        raise KeyboardInterrupt


def test_a_port_of_another_program_is_stepped_over(layout: Layout) -> None:
    notes: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = bring_up._port(layout, "mlflow", port, notes)
    assert found > port
    assert notes == [f"port {port} is used by another program: mlflow is on {found}"]


def test_a_service_gets_the_port_it_had(layout: Layout) -> None:
    port = ports.free()
    service = start(layout, "mlflow", SLEEPS, port=port)
    os.kill(service.pid, signal.SIGKILL)
    assert bring_up._port(layout, "mlflow", 5000, []) == port


def test_services_know_no_other_prefect_server(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql://team/prefect")
    monkeypatch.setenv("PREFECT_API_KEY", "s3cret")
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    monkeypatch.setenv("PREFECT_WORKER_QUERY_SECONDS", "3")
    found = environment.for_prefect(layout, "http://127.0.0.1:4200/api")
    assert "PREFECT_API_DATABASE_CONNECTION_URL" not in found
    assert "PREFECT_API_KEY" not in found
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert found["PREFECT_WORKER_QUERY_SECONDS"] == "3"
    assert found["PREFECT_HOME"] == str(layout.root / ".recctl" / "prefect")


@pytest.mark.parametrize(
    ("upper", "lower", "both"),
    [
        ("", "", "127.0.0.1,localhost"),
        ("a.example", "b.example,a.example", "a.example,b.example,127.0.0.1,localhost"),
        ("", "localhost, b.example", "localhost,b.example,127.0.0.1"),
        ("", "*", "*"),
    ],
)
def test_this_machine_is_reached_without_a_proxy_whichever_name_a_program_reads(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, upper: str, lower: str, both: str
) -> None:
    for name, value in (("NO_PROXY", upper), ("no_proxy", lower)):
        monkeypatch.setenv(name, value)
    found = environment.base(layout)
    assert (found["NO_PROXY"], found["no_proxy"]) == (both, both)


def test_an_address_of_mlflow_with_a_password_is_in_no_command(layout: Layout) -> None:
    store = "postgresql://ann:s3cret@127.0.0.1/mlflow"
    assert environment.for_mlflow(layout, store)[BACKEND_STORE_URI_ENV_VAR] == store
    service = bring_up._start_mlflow(layout, "sqlite:///s3cret.db", [])
    processes.stop(layout, "mlflow", grace=0.1)
    assert "s3cret" not in json.dumps(vars(service))


def test_mlflows_server_reads_the_names_that_we_set(layout: Layout) -> None:
    names = {
        ARTIFACT_ROOT_ENV_VAR,
        ARTIFACTS_DESTINATION_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        REGISTRY_STORE_URI_ENV_VAR,
        SERVE_ARTIFACTS_ENV_VAR,
    }
    variables = environment.for_mlflow(layout, "sqlite:///a.db")
    assert {name for name in variables if name.startswith("_MLFLOW_SERVER_")} == names


def test_each_server_has_a_new_key_that_only_its_user_can_read(layout: Layout) -> None:
    assert environment.key(layout) == ""
    keys = set()
    for _ in range(2):
        environment.new_key(layout)
        keys.add(environment.key(layout))
        assert mode(environment.key_file(layout)) == 0o600
    assert len(keys) == 2
    assert all(key.startswith("recctl:") and len(key) > 40 for key in keys)


def test_the_settings_of_prefects_commands_hold_the_key_and_are_as_private(
    layout: Layout,
) -> None:
    environment.settings_file(layout).write_text(environment.OURS)
    environment.settings_file(layout).chmod(0o644)  # as an earlier version left it
    environment.new_key(layout)
    environment.write_settings(layout, "http://127.0.0.1:4200/api")
    settings = tomllib.loads(environment.settings_file(layout).read_text())
    assert settings["api"]["auth_string"] == environment.key(layout)
    assert mode(environment.settings_file(layout)) == 0o600
    down(layout)
    assert not environment.key_file(layout).exists()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_key_is_in_no_command(layout: Layout) -> None:
    environment.new_key(layout)
    secret = environment.key(layout).partition(":")[2]
    settings = environment.for_server(layout, 4200)
    assert settings["PREFECT_SERVER_API_AUTH_STRING"].endswith(secret)
    for name in ("prefect", "mlflow"):
        assert secret not in str(bring_up._behind_door(name, 4200))


LISTENS = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""


def test_the_key_is_sent_to_our_server_only_and_not_to_another_program_on_its_port(
    layout: Layout,
) -> None:
    port = ports.free()
    command = [sys.executable, "-c", LISTENS, str(port)]
    impostor = subprocess.Popen(command, start_new_session=True)
    try:
        wait_for("the impostor", lambda: not bring_up._free(port))
        service = start(layout, "prefect", SLEEPS, port=port)
        assert not processes.listens(layout, "prefect")
        assert not bring_up._answers(layout, service, "/")  # would wait for an answer
    finally:
        impostor.kill()
        impostor.wait()
    processes.stop(layout, "prefect", grace=0.2)
    processes.start(layout, "prefect", command, os.environ, port=port)
    wait_for("our server", lambda: processes.listens(layout, "prefect"))
    processes.stop(layout, "prefect", grace=0.2)
    assert not processes.listens(layout, "prefect")


@pytest.mark.parametrize(
    ("deployments", "runs", "planned"),
    [
        ([], [], True),
        ([(False, [True])], [], False),
        ([(False, [True])], [{"id": "1"}], True),
        ([(True, [True]), (False, [False]), (False, [])], [], True),
        ([(True, [True]), (False, [False, True])], [], False),
    ],
)
def test_up_waits_for_the_next_run_where_a_deployment_has_a_schedule(
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    deployments: list[tuple[bool, list[bool]]],
    runs: list[Any],
    planned: bool,
) -> None:
    """A deployment is whether it is paused, and whether each of its schedules is active."""
    answers = {
        "api/deployments/filter": [
            {"paused": paused, "schedules": [{"active": one} for one in active]}
            for paused, active in deployments
        ],
        "api/flow_runs/filter": runs,
    }
    monkeypatch.setattr(server, "ask", lambda address, body, key: answers[address])
    monkeypatch.setattr(bring_up, "SECONDS_TO_PLAN", 0.0)
    notes: list[str] = []
    bring_up._wait_for_plan(layout, "api", notes)
    assert server.has_plan("api", "") is planned
    assert len(notes) == (not planned)
