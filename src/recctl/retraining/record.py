"""What this project's last retraining came to, kept on disk until all of it is done.

The registry's log is the truth about decisions; this file only says how far the last run came, so
that the next one finishes it first.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recctl.files import write_json
from recctl.layout import Layout

Ending = Literal["promoted", "rejected", "refused", "suspicious", "unchanged", "not-promoted"]
"""The verdicts of a decision; `unchanged`: the model that was trained serves already;
`not-promoted`: it would serve, and a person did not say yes."""


@dataclass(frozen=True)
class Record:
    """One retraining."""

    key: str
    """The digest of its `Key`."""
    state: Literal["begun", "decided", "done"]
    """`decided`: what came of it waits to be published; `done`: nothing waits. One that was refused
    is never done: its cause may be mended where no key sees it."""
    ending: Ending | None = None
    sentence: str = ""
    version: int | None = None
    """Of the model judged, where it is registered."""
    position: int | None = None
    """The decision's, where one was written."""
    data: str | None = None
    """The version of data/ that it rests on."""


def read(layout: Layout) -> Record | None:
    """The last one; None where there is none, or none that can be read."""
    try:
        return Record(**json.loads(_path(layout).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write(layout: Layout, record: Record) -> None:
    """Keep it, whole."""
    write_json(_path(layout), dataclasses.asdict(record))


def _path(layout: Layout) -> Path:
    return layout.state / "retrain.json"
