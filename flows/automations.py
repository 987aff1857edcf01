"""Automations of Prefect's server for runs that cannot send a notice: crashed and late ones.

    python flows/automations.py

registers them with the addresses of `notify` in params.yaml; `recctl up` calls it.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from prefect.automations import Automation
from prefect.blocks.notifications import SlackWebhook
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from pydantic import SecretStr

from recctl.intake import secrets
from recctl.layout import Layout
from recctl.notify.params import NotifyParams

LATE = timedelta(minutes=10)
"""After a run counts as late, the time in which it may still start."""

RUNS: dict[str, str | list[str]] = {"prefect.resource.id": "prefect.flow-run.*"}

TRIGGERS = {
    "crashed": EventTrigger(match=RUNS, expect={"prefect.flow-run.Crashed"}, threshold=1),
    "late": EventTrigger(
        match=RUNS,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        after={"prefect.flow-run.Late"},
        expect={f"prefect.flow-run.{state}" for state in ("Pending", "Running", "Cancelled")},
        within=LATE,
    ),
}
"""Of each automation, by the state that it reports."""

BODY = "{{ flow_run.state.message }}\nPrefect: {{ flow_run|ui_url }}"


def register(layout: Layout) -> None:
    """Replace the automations; there is none without addresses or the event run-failed."""
    for state in TRIGGERS:
        with suppress(ValueError):  # none is registered
            found: Any = Automation.read(name=f"recctl-{state}")
            found.delete()
    params = NotifyParams.load(layout.params)
    addresses = params.addresses if "run-failed" in params.events else []
    blocks: list[Any] = []
    for number, address in enumerate(addresses, start=1):
        url = SecretStr(secrets.filled(address, "a part of notify.addresses"))
        # a block of this type takes any address of Apprise; the server keeps it encrypted
        blocks.append(SlackWebhook(url=url).save(f"recctl-{number}", overwrite=True))
    for state, trigger in TRIGGERS.items() if blocks else ():
        subject = f"recctl: {{{{ flow_run.name }}}} is {state}"
        actions: list[Any] = [
            SendNotification(block_document_id=block, subject=subject, body=BODY)
            for block in blocks
        ]
        Automation(name=f"recctl-{state}", trigger=trigger, actions=actions).create()


if __name__ == "__main__":
    register(Layout.find())
