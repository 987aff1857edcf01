"""`recctl up`: start what does not run and register the deployments; undo that on failure."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from recctl.errors import UserError
from recctl.files import locked
from recctl.layout import Layout
from recctl.notify.params import NotifyParams
from recctl.services import door, environment, processes, server
from recctl.services.processes import Service

PREFECT_PORT, MLFLOW_PORT, SERVE_PORT = 4200, 5000, 8000
_PORTS_TRIED = 50

WORKER = "recctl-worker"
CONCURRENT_RUNS = 3
"""Flow runs that the worker executes at the same time: one of each deployment."""

SECONDS_TO_START = 120
"""The first start creates Prefect's database, which is slow on a busy machine."""
SECONDS_TO_PLAN = 60
"""In which Prefect's scheduler, which looks every few seconds, has scheduled the next run."""


@dataclass
class Up:
    """What runs after `up`, and what it started."""

    prefect: str
    mlflow: str
    """Address of MLflow's pages: our own server, or the one that MLFLOW_TRACKING_URI names."""
    key: str
    """The file in the project with the key that Prefect and MLflow ask for."""
    serve: str
    """Address of the HTTP service."""
    started: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def up(layout: Layout, say: Callable[[str], None]) -> Up:
    """Start Prefect's server, MLflow's, the HTTP service and a worker, unless they run already.

    Then register the deployments of prefect.yaml. On failure, what this call started is stopped.
    Raises UserError with the last line of the log concerned.
    """
    if not (layout.root / "prefect.yaml").is_file():
        raise UserError(f"no file {layout.root / 'prefect.yaml'}", "restore it from git")
    environment.refuse_foreign_settings(layout)
    with busy(layout), _stopping_on_failure(layout) as started:
        return _up(layout, say, started)


@contextlib.contextmanager
def busy(layout: Layout) -> Iterator[None]:
    """One `up` or `down` at a time."""
    path = processes.folder(layout) / "lock"
    with locked(path, "another 'recctl up' or 'recctl down' is running in this project"):
        yield


@contextlib.contextmanager
def _stopping_on_failure(layout: Layout) -> Iterator[list[str]]:
    started: list[str] = []
    try:
        yield started
    except BaseException:
        for name in reversed(started):
            processes.stop(layout, name)
        if "prefect" in started:
            environment.remove_settings(layout)
        raise


def _up(layout: Layout, say: Callable[[str], None], started: list[str]) -> Up:
    notes: list[str] = []
    if not environment.key(layout):  # servers of an earlier recctl, which have no key
        for name in reversed(processes.NAMES):
            processes.stop(layout, name)
    prefect = _ensure(layout, "prefect", started, lambda: _start_prefect(layout, notes))
    mlflow = _ensure_mlflow(layout, started, notes, say)
    serve = _ensure(layout, "serve", started, lambda: _start_serve(layout, notes))
    _wait(layout, prefect, lambda: _answers(layout, prefect, "/api/admin/version"))
    # with its pid: every server has a new key
    addresses = {"api": f"{prefect.address}/api", "mlflow": mlflow, "server": str(prefect.pid)}
    environment.write_settings(layout, addresses["api"])
    _ensure_worker(layout, started, addresses, say)
    say("registering the deployments of prefect.yaml")
    deploy(layout, addresses["api"])
    notes += _automations(layout, addresses["api"], say)
    own = processes.running(layout, "mlflow")
    if own:
        _wait(layout, own, lambda: _answers(layout, own, "/health"))
    _wait(layout, serve, lambda: _answers(layout, serve, "/healthz"))
    _wait_for_plan(layout, addresses["api"], notes)
    if variable := environment.overriding():
        notes.append(f"{variable} is set in your shell: 'prefect' uses it instead of this server")
    file = str(environment.key_file(layout).relative_to(layout.root))
    return Up(str(prefect.address), mlflow, file, str(serve.address), started, notes)


def _answers(layout: Layout, service: Service, path: str) -> bool:
    # the key is sent to no other program
    listens = processes.listens(layout, service.name)
    return listens and server.answers(f"{service.address}{path}", environment.key(layout))


def _ensure(layout: Layout, name: str, started: list[str], begin: Callable[[], Service]) -> Service:
    """The running service, or a new one after the rest of the old one is stopped."""
    service = processes.running(layout, name)
    if service is None:
        processes.stop(layout, name)
        started.append(name)  # before it starts: an interrupt may come in between
        service = begin()
    return service


def _start_prefect(layout: Layout, notes: list[str]) -> Service:
    port = _port(layout, "prefect", PREFECT_PORT, notes)
    environment.new_key(layout)
    settings = environment.for_server(layout, port)
    return processes.start(layout, "prefect", _behind_door("prefect", port), settings, port=port)


def _behind_door(name: str, port: int) -> list[str]:
    """The command of one of the two servers, without secrets."""
    command = [sys.executable, "-m", "uvicorn", "--factory", f"{door.__name__}:{name}"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--workers", "1", "--log-level", "warning"]


def _ensure_mlflow(
    layout: Layout, started: list[str], notes: list[str], say: Callable[[str], None]
) -> str:
    from recctl.redact import redact
    from recctl.tracking.server import connect, tracking_uri

    store = tracking_uri(layout)
    if not store.startswith(_STORES):
        processes.stop(layout, "mlflow")
        return redact(store)
    if processes.running(layout, "mlflow") is None:
        say("opening MLflow's store")
        connect(layout)  # several processes that create its tables at once would all fail
    service = _ensure(layout, "mlflow", started, lambda: _start_mlflow(layout, store, notes))
    return str(service.address)


_STORES = ("sqlite:", "postgresql", "mysql", "mssql")
"""Addresses of databases; any other address is a server that has its own pages."""


def _start_mlflow(layout: Layout, store: str, notes: list[str]) -> Service:
    port = _port(layout, "mlflow", MLFLOW_PORT, notes)
    settings = environment.for_mlflow(layout, store)
    return processes.start(layout, "mlflow", _behind_door("mlflow", port), settings, port=port)


def _start_serve(layout: Layout, notes: list[str]) -> Service:
    port = _port(layout, "serve", SERVE_PORT, notes)
    log = str(processes.folder(layout) / "requests.log")
    command = [sys.executable, "-c", "from recctl.cli import main; main()", "serve"]
    command += ["--port", str(port), "--log", log]
    return processes.start(layout, "serve", command, environment.base(layout), port=port)


def _ensure_worker(
    layout: Layout, started: list[str], addresses: dict[str, str], say: Callable[[str], None]
) -> None:
    """Start a worker; one that was started with other addresses is replaced."""
    now = processes.running(layout, "worker")
    if now and now.addresses != addresses:
        say("restarting the worker: a server was restarted")
        processes.stop(layout, "worker")
    if processes.running(layout, "worker") is None:
        _end_orphans(layout, addresses["api"], say)
    say("waiting for the worker")
    begun, key = time.time(), environment.key(layout)
    worker = _ensure(layout, "worker", started, lambda: _start_worker(layout, addresses))
    since = begun if "worker" in started else 0.0
    _wait(layout, worker, lambda: server.has_worker(addresses["api"], WORKER, since, key))


def _end_orphans(layout: Layout, api: str, say: Callable[[str], None]) -> None:
    """End the flows that outlived their worker, and their runs: a new worker knows neither."""
    if processes.stop(layout, "worker"):
        say("ended the flows of a killed worker; the next run continues from its checkpoint")
    reason = "its worker was killed, or the machine was restarted"
    server.settle(api, "CRASHED", reason, environment.key(layout))


def _start_worker(layout: Layout, addresses: dict[str, str]) -> Service:
    command = [sys.executable, str(layout.root / "flows" / "worker.py")]
    command += [environment.POOL, WORKER, str(CONCURRENT_RUNS)]
    settings = environment.for_worker(layout, addresses)
    return processes.start(layout, "worker", command, settings, addresses=addresses)


def deploy(layout: Layout, api: str) -> None:
    """Register every deployment of prefect.yaml; UserError with Prefect's last line if it fails."""
    command = ["-m", "prefect", "--no-prompt", "deploy", "--all"]
    _register(layout, api, "deploy", command, "the deployments were not registered")


def _automations(layout: Layout, api: str, say: Callable[[str], None]) -> list[str]:
    """Have the server send notices of crashed and late runs; a note where that failed."""
    program = layout.root / "flows" / "automations.py"
    ours = {"automations": {"name": {"any_": ["recctl-crashed", "recctl-late"]}}}
    try:
        wanted = NotifyParams.load(layout.params).addresses
        known = wanted or server.ask(f"{api}/automations/filter", ours, environment.key(layout))
        if known and program.is_file():
            say("registering the notices of crashed and late runs")
            _register(layout, api, "automations", [str(program)], "crashed runs send no notice")
    except UserError as error:
        return [str(error)]
    return []


def _register(layout: Layout, api: str, name: str, command: list[str], failure: str) -> None:
    """Run Python with our server; UserError with the last line of the log if it fails."""
    log = processes.log_file(layout, name)
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=layout.root,
            env=environment.for_prefect(layout, api),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        reason = processes.last_line(log)
        raise UserError(f"{failure} ({reason})", f"see {log}")


def _port(layout: Layout, name: str, wanted: int, notes: list[str]) -> int:
    """The port the service had, or the wanted one, or the next that is free."""
    former = processes.known(layout, name)
    if former and former.port and _free(former.port):
        return former.port
    for port in range(wanted, wanted + _PORTS_TRIED):
        if _free(port):
            if port != wanted:
                notes.append(f"port {wanted} is used by another program: {name} is on {port}")
            return port
    raise UserError(f"no free port from {wanted} on for {name}", "free one of these ports")


def _free(port: int) -> bool:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _wait_for_plan(layout: Layout, api: str, notes: list[str]) -> None:
    """Wait until the next run is scheduled, or say that none is: a schedule may have ended."""
    key, end = environment.key(layout), time.monotonic() + SECONDS_TO_PLAN
    while not server.has_plan(api, key):
        if time.monotonic() > end:
            notes.append("Prefect has scheduled no run yet: see 'recctl status'")
            return
        time.sleep(0.1)


def _wait(layout: Layout, service: Service, ready: Callable[[], bool]) -> None:
    log = processes.log_file(layout, service.name)
    end = time.monotonic() + SECONDS_TO_START
    while not ready():
        alive = processes.is_alive(layout, service)
        if not alive or time.monotonic() > end:
            what = f"did not answer in {SECONDS_TO_START} s" if alive else "ended while it started"
            raise UserError(f"{service.name} {what} ({processes.last_line(log)})", f"see {log}")
        time.sleep(0.1)
