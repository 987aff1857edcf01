"""The little that is asked of Prefect's server and MLflow's without their packages: plain HTTP."""

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
    """Whether a server on this machine answers, and with success."""
    return ask(address, key=key) is not None


def has_worker(api: str, name: str, since: float, key: str) -> bool:
    """Whether the worker has reported to the server later than `since`, seconds from 1970."""
    for worker in ask(f"{api}/work_pools/{POOL}/workers/filter", {}, key) or []:
        heard = datetime.datetime.fromisoformat(worker["last_heartbeat_time"])
        if worker["name"] == name and heard.timestamp() >= since:
            return True
    return False


def settle(api: str, state: str, reason: str, key: str = "") -> int:
    """Give the flow runs of our work pool that count as under way their end; how many there were.

    For runs whose processes are known to be gone: they would count as running for ever, and keep
    the next one waiting. A run that is suspended has no process, and stays as it is.
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
    """What a server on this machine answers (JSON, or its text); None if it does not, or refuses.

    With a `body` the request is a POST. A server that is busy is asked again; a proxy that the
    environment names is not used.
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
