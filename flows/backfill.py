"""The backfill flow: what the system would have done on past days.

    python flows/backfill.py 2024-12-01 2024-12-07

runs it once on this machine.
"""

import sys
from datetime import date
from pathlib import Path
from typing import Any

import in_prefect
from prefect import flow
from prefect.client.schemas.objects import State

from recctl.files import keep_private
from recctl.layout import Layout
from recctl.render.console import Console
from recctl.retraining import curve
from recctl.retraining.backfill import Day
from recctl.retraining.backfill import backfill as replay
from recctl.retraining.pages import Page
from recctl.retraining.run import Hooks


@flow(name="backfill", log_prints=True)
def backfill(
    first: date,
    last: date,
    settings: dict[str, Any] | None = None,
    project: Path | None = None,
) -> State[None]:
    """Replay the days from `first` to `last` in a separate workspace and show the curve."""
    keep_private()
    layout = Layout.find(project)
    hooks = Hooks(say=print, step=in_prefect.step, approve=lambda decision: True)
    days: list[Day] = []
    for day in replay(layout, first, last, hooks, settings=settings):
        days.append(day)
        in_prefect.show(Page("backfill", f"{first} to {last}", curve.table(days)))
        curve.plot(days, layout.root / "artifacts" / "backfill" / f"{first}-{last}.png")
    console = Console(force_terminal=False)  # lines of a log: whole, however wide
    with console.capture() as captured:
        curve.table(days).print(console)
    print(captured.get())
    promoted = sum(day.ending == "promoted" for day in days)
    message = f"{len(days)} days, {promoted} promotions"
    return in_prefect.ended("replayed", message, called=f"{first}-to-{last}")


if __name__ == "__main__":
    backfill(date.fromisoformat(sys.argv[1]), date.fromisoformat(sys.argv[2]))
