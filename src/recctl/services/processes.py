"""Processes that outlive the command that starts them, and are found again to be stopped.

Each gets a session of its own and two variables that it hands on to whatever it starts: the
project's folder and its own name. So a flow's training is found, and ended, whichever group it put
itself into and whoever of its parents was killed.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recctl.errors import UserError
from recctl.files import read_json, write_json
from recctl.layout import Layout

if TYPE_CHECKING:
    import psutil

PROJECT_MARK = "RECCTL_SERVICES_OF"
NAME_MARK = "RECCTL_SERVICE"

NAMES = ("prefect", "mlflow", "worker")
"""In the order of starting; they are stopped in the opposite one."""

GRACE_SECONDS = 10.0
"""What a process gets to end by itself before it is killed."""

_SAME_START_SECONDS = 2.0
_MARKED_SECONDS = 5.0
"""Until the environment of a process that was just started can be read, at most."""
_KILLED_SECONDS = 10.0
"""Until a killed process is gone, at most."""


@dataclass(frozen=True)
class Service:
    """One running service, as its state file keeps it."""

    name: str
    pid: int
    created: float
    """Seconds since 1970, by the system's account: a pid is used again, this is not."""
    command: list[str]
    address: str | None
    port: int | None
    told: dict[str, str]
    """Addresses of other services that it was started with."""


def folder(layout: Layout) -> Path:
    """Where state files and logs of the services lie."""
    return layout.state / "services"


def log_file(layout: Layout, name: str) -> Path:
    """What the service prints."""
    return folder(layout) / f"{name}.log"


def state_file(layout: Layout, name: str) -> Path:
    """Which process the service is; there as long as it is meant to run."""
    return folder(layout) / f"{name}.json"


def start(
    layout: Layout,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    port: int | None = None,
    told: Mapping[str, str] | None = None,
) -> Service:
    """Start a service in a session of its own; it has not answered yet when this returns."""
    folder(layout).mkdir(parents=True, exist_ok=True)
    former = log_file(layout, name)
    if former.exists():
        former.replace(former.with_name(former.name + ".1"))  # a killed service's last words
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
    # it is to outlive us: nobody waits for it
    process.returncode = 0
    created = _created(process.pid)
    address = None if port is None else f"http://127.0.0.1:{port}"
    service = Service(name, process.pid, created, list(command), address, port, dict(told or {}))
    write_json(state_file(layout, name), asdict(service))
    return service


def _created(pid: int) -> float:
    """When a process began that was started just now, waiting until its marks can be read.

    For a moment after exec its environment is empty, and it would look like another's.
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
    path = state_file(layout, name)
    if not path.exists():
        return None
    try:
        return Service(**read_json(path, "recctl up"))
    except (UserError, TypeError):
        return None


def running(layout: Layout, name: str) -> Service | None:
    """The service if its process is alive and is the one that was started."""
    service = known(layout, name)
    return service if service and is_alive(layout, service) else None


def is_alive(layout: Layout, service: Service) -> bool:
    """Whether the process is alive, and no other one that was given its number."""
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
    """Whether the service itself holds its port, and not a program that took it first."""
    import psutil

    service = running(layout, name)
    if service is None:
        return False
    try:
        found = psutil.Process(service.pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == service.port for one in found)


def descendants(layout: Layout, name: str) -> "list[psutil.Process]":
    """Every living process that carries the service's marks, or is of its process group."""
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
    """End a service and all that it has started; gives back whether there was anything.

    The service, its children and orphans are asked first; whatever those started they end
    themselves. What lives after `grace` seconds is killed. Raises UserError when something cannot
    be ended.
    """
    there = descendants(layout, name)
    for process in _uppermost(there, known(layout, name)):
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
    return bool(there)


def _uppermost(there: "list[psutil.Process]", service: Service | None) -> "list[psutil.Process]":
    """The processes whose parent is the service or none of these."""
    import psutil

    lower = {process.pid for process in there} - {service.pid if service else None}
    found = []
    for process in there:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in lower:
                found.append(process)
    return found


def _until(seconds: float, step: float = 0.1) -> Iterator[None]:
    """Go round, at first at once and then every `step` seconds, until the time is up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(step)


def _unstoppable(name: str, left: "list[psutil.Process]") -> UserError:
    pids = ", ".join(str(process.pid) for process in left)
    return UserError(f"{name}: processes that cannot be ended ({pids})", "end them as their owner")


def last_line(path: Path) -> str:
    """The last line of a log that says something, for an error's message."""
    if not path.exists():
        return "it printed nothing"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
