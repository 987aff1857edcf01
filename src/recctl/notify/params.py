"""The `notify` section of params.yaml: who is notified of what."""

from typing import ClassVar, Literal, get_args

from pydantic import Field

from recctl.config import Section

Event = Literal[
    "promoted",
    "rejected",
    "suspicious",
    "provisional",
    "data-rejected",
    "run-failed",
    "champion-fallen",
    "approval-awaited",
    "rolled-back",
]


class NotifyParams(Section):
    """The addresses, and the events of which they get a notice."""

    section: ClassVar[str] = "notify"
    optional: ClassVar[bool] = True

    addresses: list[str] = Field(default=[])
    """In Apprise's form; `${NAME}`, or `env:NAME` for all of it, is that environment variable."""
    events: list[Event] = Field(default=[one for one in get_args(Event) if one != "rejected"])
    """By default all but `rejected`, as which most nights end (docs/notices.md)."""
