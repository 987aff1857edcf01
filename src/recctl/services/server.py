"""Requests to Prefect's server and MLflow's over plain HTTP, without their packages."""

import base64
import datetime
import http
import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any

from recctl.services.environment import POOL

_SECONDS_TO_ANSWER = 10
_UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING", "PAUSED"]


def answers(address: str, key: str) -> bool:
    """Whether a server on this machine answers with success."""
    return ask(address, key=key) is not None


def has_worker(api: str, name: str, since: float, key: str) -> bool:
    """Whether the worker has reported to the server later than `since`, seconds from 1970."""
    for worker in ask(f"{api}/work_pools/{POOL}/workers/filter", {}, key) or []:
        heard = datetime.datetime.fromisoformat(worker["last_heartbeat_time"])
        if worker["name"] == name and heard.timestamp() >= since:
            return True
    return False


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


def ask(address: str, body: Any = None, key: str = "") -> Any:
    """The answer of a server on this machine, as JSON or text; None if it is none or a refusal.

    With a `body` the request is a POST. It is repeated while the server is busy; proxies of the
    environment are not used.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Basic {base64.b64encode(key.encode()).decode()}"
    request = urllib.request.Request(address, data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for pause in (0.5, 1.0, 2.0, None):
        try:
            with opener.open(request, timeout=_SECONDS_TO_ANSWER) as answer:
                return _content(answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE or pause is None:
                return None
            time.sleep(pause)
        except (http.client.HTTPException, OSError):
            return None
    return None


def _content(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
