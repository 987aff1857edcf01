"""Prefect's flow runs of `retrain`: the last one, the next one, those that wait for an answer."""

import os
from dataclasses import dataclass
from typing import Any

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.render.text import one_line
from recctl.services import environment, processes, server

FLOW = "retrain"
"""The name of the flow in flows/retrain.py."""

SECONDS = 30.0
"""Time for an answer: a server that has just started, beside other work, takes many."""


@dataclass(frozen=True)
class Prefect:
    """The API of a Prefect server, and its key."""

    api: str
    key: str

    @classmethod
    def find(cls, layout: Layout) -> "Prefect":
        """The server that `recctl up` started, else the one that PREFECT_API_URL names.

        Raises UserError where neither answers.
        """
        ours = processes.running(layout, "prefect")
        if ours and processes.listens(layout, "prefect"):
            found = cls(f"{ours.address}/api", environment.key(layout))
        elif address := os.environ.get("PREFECT_API_URL", "").rstrip("/"):
            found = cls(address, os.environ.get("PREFECT_API_AUTH_STRING", ""))
        else:
            raise UserError("Prefect's server is down", "start the services: 'recctl up'")
        found.ask("admin/version")
        return found

    def ask(self, path: str, body: Any = None) -> Any:
        """The answer to a request; with a `body` it is a POST. UserError where there is none."""
        answer = server.ask(f"{self.api}/{path}", body, self.key, SECONDS)
        if answer is None:
            raise UserError(f"Prefect's server does not answer ({path})", "see 'recctl status'")
        return answer

    def runs(self, *states: str, sort: str, limit: int) -> list[dict[str, Any]]:
        """Flow runs of `retrain` in states of these types."""
        wanted = {
            "flows": {"name": {"any_": [FLOW]}},
            "flow_runs": {"state": {"type": {"any_": states}}},
        }
        found = self.ask("flow_runs/filter", {**wanted, "sort": sort, "limit": limit})
        return list(found)

    def last(self) -> dict[str, Any] | None:
        """The run that ended last."""
        ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return next(iter(self.runs(*ended, sort="END_TIME_DESC", limit=1)), None)

    def next(self) -> dict[str, Any] | None:
        """The run that is scheduled next, or is late."""
        found = self.runs("SCHEDULED", sort="EXPECTED_START_TIME_ASC", limit=1)
        return next(iter(found), None)

    def waiting(self) -> list[dict[str, Any]]:
        """The runs that wait for a person's answer, the oldest first."""
        paused = self.runs("PAUSED", sort="START_TIME_ASC", limit=200)
        return [run for run in paused if run["state"]["state_details"].get("run_input_keyset")]


def answer(layout: Layout, run: str | None, *, approve: bool, name: str) -> str:
    """Answer the question of a flow run whether its model may serve; the run's name.

    `run` is its name or id; None: the only one that waits. Raises UserError where the server does
    not answer, no such run waits, or the server does not take the answer.
    """
    prefect = Prefect.find(layout)
    waiting = prefect.waiting()
    known = ", ".join(f"{one_line(each['name'])} ({each['id']})" for each in waiting)
    chosen = [each for each in waiting if run in (None, each["name"], each["id"])]
    if not waiting:
        raise UserError("no run waits for approval", "see 'recctl status' and 'recctl history'")
    if not chosen:
        raise UserError(f"no run '{run:.80}' waits for approval", f"waiting: {known}")
    if len(chosen) > 1:
        raise UserError(f"{len(chosen)} runs wait for approval", f"give the id of one: {known}")
    body = {"run_input": {"approve": approve, "name": name}}
    found = prefect.ask(f"flow_runs/{chosen[0]['id']}/resume", body)
    if found.get("status") != "ACCEPT":
        reason = one_line(str((found.get("details") or {}).get("reason")))
        raise UserError(f"Prefect did not take the answer: {reason}", "try again in some seconds")
    return str(chosen[0]["name"])
