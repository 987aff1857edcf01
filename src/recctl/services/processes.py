"""Processes that outlive the command that starts them, and are found again to be stopped.

Each runs in a new session and has two environment variables that its children inherit: the
project's folder and the service's name. So a flow's training is found and ended, whatever its
process group is and whichever of its parents was killed.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recctl.errors import UserError
from recctl.files import read_state, write_json
from recctl.layout import Layout

if TYPE_CHECKING:
    import psutil

PROJECT_MARK = "RECCTL_SERVICES_OF"
NAME_MARK = "RECCTL_SERVICE"

NAMES = ("prefect", "mlflow", "serve", "worker")
"""In the order of starting; they are stopped in reverse."""

GRACE_SECONDS = 10.0
"""Time for a process to end after SIGTERM before it is killed."""

_SAME_START_SECONDS = 2.0
_MARKED_SECONDS = 5.0
"""Time until the environment of a new process can be read."""
_KILLED_SECONDS = 10.0
"""Time until a killed process is gone."""


@dataclass(frozen=True)
class Service:
    """One running service, as its state file keeps it."""

    name: str
    pid: int
    created: float
    """Creation time in seconds since 1970; with it a pid that is used again is recognised."""
    command: list[str]
    address: str | None
    port: int | None
    addresses: dict[str, str] = field(default_factory=dict)
    """The addresses of other services that it was started with."""


def folder(layout: Layout) -> Path:
    """The folder of the services' state files and logs."""
    return layout.state / "services"


def log_file(layout: Layout, name: str) -> Path:
    """The file of the service's output."""
    return folder(layout) / f"{name}.log"


def state_file(layout: Layout, name: str) -> Path:
    """The file that names the service's process; it exists as long as the service should run."""
    return folder(layout) / f"{name}.json"


def start(
    layout: Layout,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    port: int | None = None,
    addresses: Mapping[str, str] | None = None,
) -> Service:
    """Start a service in a new session; it may not answer yet when this returns."""
    folder(layout).mkdir(parents=True, exist_ok=True)
    former = log_file(layout, name)
    if former.exists():
        former.replace(former.with_name(former.name + ".1"))  # with the reason why it ended
    with log_file(layout, name).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=layout.root,
            env={**environment, PROJECT_MARK: str(layout.root), NAME_MARK: name},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # it outlives this process and is not waited for
    process.returncode = 0
    created = _created(process.pid)
    address = None if port is None else f"http://127.0.0.1:{port}"
    others = dict(addresses or {})
    service = Service(name, process.pid, created, list(command), address, port, others)
    write_json(state_file(layout, name), asdict(service))
    return service


def _created(pid: int) -> float:
    """The creation time of a new process; waits until its environment can be read.

    For a moment after exec its environment is empty, and it would count as another process.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        with contextlib.suppress(psutil.AccessDenied):
            for _ in _until(_MARKED_SECONDS, 0.001):
                if process.status() == psutil.STATUS_ZOMBIE or process.environ():
                    break
        return process.create_time()
    except psutil.NoSuchProcess:
        return time.time()


def known(layout: Layout, name: str) -> Service | None:
    """The service as its state file says, alive or not; a damaged file counts as none."""
    return read_state(state_file(layout, name), Service)


def running(layout: Layout, name: str) -> Service | None:
    """The service if its process is alive and is the one that was started."""
    service = known(layout, name)
    return service if service and is_alive(layout, service) else None


def is_alive(layout: Layout, service: Service) -> bool:
    """Whether the process is alive, and not another one with the same pid."""
    import psutil

    try:
        process = psutil.Process(service.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        try:
            return _marks(process) == (str(layout.root), service.name)
        except psutil.AccessDenied:
            return abs(process.create_time() - service.created) < _SAME_START_SECONDS
    except psutil.NoSuchProcess:
        return False


def listens(layout: Layout, name: str) -> bool:
    """Whether the service itself listens on its port, rather than another program."""
    import psutil

    service = running(layout, name)
    if service is None:
        return False
    try:
        sockets = psutil.Process(service.pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    listening = (socket for socket in sockets if socket.status == psutil.CONN_LISTEN)
    return any(socket.laddr.port == service.port for socket in listening)


def descendants(layout: Layout, name: str) -> "list[psutil.Process]":
    """Every live process with the service's marks or in its process group."""
    import psutil

    service = running(layout, name)
    found = []
    for process in psutil.process_iter():
        if process.pid in (os.getpid(), os.getppid()):
            continue
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            in_group = service is not None and os.getpgid(process.pid) == service.pid
            if in_group or _marked(process, layout, name):
                found.append(process)
    return found


def _marked(process: "psutil.Process", layout: Layout, name: str) -> bool:
    import psutil

    try:
        return _marks(process) == (str(layout.root), name)
    except psutil.AccessDenied:
        return False


def _marks(process: "psutil.Process") -> tuple[str | None, str | None]:
    environment = process.environ()
    return environment.get(PROJECT_MARK), environment.get(NAME_MARK)


def stop(layout: Layout, name: str, grace: float = GRACE_SECONDS) -> bool:
    """End a service and everything that it started; whether there was a process to end.

    The service, its children and orphans get SIGTERM; they end what they started themselves. A
    process that lives after `grace` seconds is killed. Raises UserError when one cannot be ended.
    """
    alive = descendants(layout, name)
    for process in _uppermost(alive, known(layout, name)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    for _ in _until(grace):
        if not descendants(layout, name):
            break
    for _ in _until(_KILLED_SECONDS):
        left = descendants(layout, name)
        if not left:
            break
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    else:
        if left := descendants(layout, name):
            raise _unstoppable(name, left)
    state_file(layout, name).unlink(missing_ok=True)
    return bool(alive)


def _uppermost(alive: "list[psutil.Process]", service: Service | None) -> "list[psutil.Process]":
    """The processes whose parent is the service, or is not among them."""
    import psutil

    lower = {process.pid for process in alive} - {service.pid if service else None}
    found = []
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in lower:
                found.append(process)
    return found


def _until(seconds: float, step: float = 0.1) -> Iterator[None]:
    """Poll immediately, then every `step` seconds, until the time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(step)


def _unstoppable(name: str, left: "list[psutil.Process]") -> UserError:
    pids = ", ".join(str(process.pid) for process in left)
    return UserError(f"{name}: some processes cannot be ended ({pids})", "end them as their owner")


def last_line(path: Path) -> str:
    """The last line of a log that is not empty, for an error's message."""
    if not path.exists():
        return "it printed nothing"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
