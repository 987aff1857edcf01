"""`recctl down` and `recctl status`: stop the services; report their states."""

from dataclasses import dataclass

from recctl.layout import Layout
from recctl.services import environment, processes, server
from recctl.services.up import busy


def down(layout: Layout) -> list[str]:
    """Stop the worker with its flows, then MLflow, then Prefect; the names of what was there.

    Prefect's server is stopped last: it records that the flows were stopped. Also ends what a
    killed service left behind. Raises UserError when a process cannot be ended.
    """
    with busy(layout):
        prefect = processes.running(layout, "prefect")
        stopped = []
        for name in reversed(processes.NAMES):
            if processes.stop(layout, name):
                stopped.append(name)
            if name == "worker" and prefect:
                server.settle(
                    f"{prefect.address}/api",
                    "CANCELLED",
                    "stopped by 'recctl down'",
                    environment.key(layout),
                )
        environment.remove_settings(layout)
        environment.key_file(layout).unlink(missing_ok=True)
    return stopped


@dataclass(frozen=True)
class State:
    """The state of one service."""

    name: str
    state: str
    """`up`; `dead`: it was started and has ended; `down`."""
    address: str | None
    pid: int | None
    log: str


def status(layout: Layout) -> list[State]:
    """The state of every service, in the order of starting."""
    found = []
    for name in processes.NAMES:
        log = str(processes.log_file(layout, name).relative_to(layout.root))
        service = processes.known(layout, name)
        if service is None:
            found.append(State(name, "down", None, None, log))
        elif processes.is_alive(layout, service):
            found.append(State(name, "up", service.address, service.pid, log))
        else:
            found.append(State(name, "dead", service.address, None, log))
    return found
