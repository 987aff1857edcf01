"""How far this project's last retraining got, so that the next one finishes it first.

The decisions themselves are in the registry's log.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recctl.files import read_state, write_json
from recctl.layout import Layout

Ending = Literal[
    "promoted", "provisional", "rejected", "refused", "suspicious", "unchanged", "not-promoted"
]
"""The verdicts of a decision; `unchanged`: the model that was trained serves already;
`not-promoted`: it passed the gates and was not approved."""


@dataclass(frozen=True)
class Record:
    """One retraining."""

    key: str
    """The digest of its `Key`."""
    state: Literal["begun", "decided", "done"]
    """`decided`: its result is still to be published; `done`: nothing is left. A refused retraining
    is never done: its cause may be fixed without a change of the key."""
    ending: Ending | None = None
    sentence: str = ""
    version: int | None = None
    """Of the model judged, where it is registered."""
    position: int | None = None
    """The decision's, where one was written."""
    data: str | None = None
    """The version of data/ that the decision rests on."""


def read(layout: Layout) -> Record | None:
    """The last record; None where there is none that can be read."""
    return read_state(path(layout), Record)


def write(layout: Layout, record: Record) -> None:
    """Replace the record."""
    write_json(path(layout), dataclasses.asdict(record))


def path(layout: Layout) -> Path:
    """The file of the record."""
    return layout.state / "retrain.json"
