"""Requests to the services without their packages."""

import datetime
import http
from typing import Any

from recctl.services.environment import POOL

_SECONDS_TO_ANSWER = 10
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]


def answers(address: str, key: str) -> bool:
    """Whether a server on this machine answers with success."""
    return ask(address, key=key) is not None


def ready(address: str) -> dict[str, Any] | None:
    """What the HTTP service says about its version, also where it has none; None: no answer."""
    import requests

    with requests.Session() as session:
        session.trust_env = False  # no proxies
        try:
            found: dict[str, Any] = session.get(
                f"{address}/readyz", timeout=_SECONDS_TO_ANSWER
            ).json()
        except requests.RequestException:
            return None
    return found


def has_worker(api: str, name: str, since: float, key: str) -> bool:
    """Whether the worker has reported to the server later than `since`, seconds from 1970."""
    for worker in ask(f"{api}/work_pools/{POOL}/workers/filter", {}, key) or []:
        heard = datetime.datetime.fromisoformat(worker["last_heartbeat_time"])
        if worker["name"] == name and heard.timestamp() >= since:
            return True
    return False


def has_plan(api: str, key: str) -> bool:
    """Whether a run is scheduled, or no deployment has a schedule.

    Prefect plans runs some seconds after a schedule was registered.
    """
    scheduled = any(
        not deployment["paused"] and any(one["active"] for one in deployment["schedules"])
        for deployment in ask(f"{api}/deployments/filter", {}, key) or []
    )
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": 1}
    return not scheduled or bool(ask(f"{api}/flow_runs/filter", wanted, key))


def settle(api: str, state: str, reason: str, key: str = "") -> int:
    """Set the final state of our work pool's flow runs that count as running; their number.

    The processes of these runs have ended; Prefect would count them as running and not start the
    next one. A suspended run has no process and is left alone.
    """
    wanted = {
        "flow_runs": {"state": {"type": {"any_": _UNDER_WAY}}},
        "work_pools": {"name": {"any_": [POOL]}},
    }
    found = [
        run
        for run in ask(f"{api}/flow_runs/filter", wanted, key) or []
        if not run["state"]["state_details"].get("pause_reschedule")
    ]
    for run in found:
        end = {"state": {"type": state, "name": state.capitalize(), "message": reason}}
        ask(f"{api}/flow_runs/{run['id']}/set_state", end, key)
    return len(found)


def ask(address: str, body: Any = None, key: str = "", seconds: float = _SECONDS_TO_ANSWER) -> Any:
    """The answer of a server on this machine, as JSON or text; None if it is none or a refusal.

    With a `body` the request is a POST. It is repeated while the server is busy; an answer may take
    so many `seconds`. Proxies of the environment are not used.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    busy = Retry(
        total=5,
        connect=0,
        read=0,
        status_forcelist=[http.HTTPStatus.SERVICE_UNAVAILABLE],
        allowed_methods=None,
        backoff_factor=0.5,
        raise_on_status=False,
    )
    user, _, password = key.partition(":")
    with requests.Session() as session:
        session.trust_env = False  # no proxies
        session.mount("http://", HTTPAdapter(max_retries=busy))
        try:
            answer = session.request(
                "GET" if body is None else "POST",
                address,
                json=body,
                auth=(user, password) if key else None,
                timeout=seconds,
            )
        except requests.RequestException:
            return None
    try:
        return answer.json() if answer.ok else None
    except requests.JSONDecodeError:
        return answer.text
