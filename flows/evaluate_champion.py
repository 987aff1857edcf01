"""The evaluate-champion flow: scores the champion on the events after its training.

    python flows/evaluate_champion.py

runs it once on this machine.
"""

from functools import partial
from pathlib import Path

import in_prefect
from prefect import flow
from prefect.client.schemas.objects import State

from recctl import pipeline
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.monitoring import page
from recctl.monitoring.report import Report
from recctl.monitoring.watch import NoChampion, watch
from recctl.notify.notices import Notices
from recctl.promotion import undo
from recctl.retraining import pages
from recctl.retraining.pages import Page
from recctl.retraining.run import Hooks, collect, validated


@flow(name="evaluate-champion", log_prints=True)
def evaluate_champion(project: Path | None = None, wait_minutes: float = 60.0) -> State[None]:
    """Score the champion on new events; emit `recctl.champion.fallen` when it is proven worse."""
    layout = Layout.find(project)

    def work(held: Lock) -> State[None]:
        with in_prefect.notifying(layout) as notices:
            try:
                undo_by_use(layout, notices)
                report = look(layout, held, notices)
            except NoChampion as error:
                return in_prefect.ended("no-champion", str(error))
            if report.verdict == "fallen":
                notices.fallen(report)
                facts = {"sentence": report.sentence}
                in_prefect.emit("recctl.champion.fallen", layout, "evaluate-champion", facts)
        return in_prefect.ended(report.verdict.replace(" ", "-"), report.sentence)

    return in_prefect.in_turn(layout, wait_minutes, work)


def undo_by_use(layout: Layout, notices: Notices) -> None:
    """Roll back where users are proven to prefer the champion before, if settings ask for it."""
    done = in_prefect.step("use", lambda: undo.by_clicks(layout, print))
    if done is not None and done.record is not None and done.entry is not None:
        notices.decided(done.record, done.entry.position)


def look(layout: Layout, held: Lock, notices: Notices) -> Report:
    """Bring the events up to date, check them, score the champion on them."""
    decided = notices.decided  # what a retraining decided before it was killed
    hooks = Hooks(say=print, step=in_prefect.step, show=in_prefect.show, decided=decided)
    collect(layout, held, hooks)
    lines = pages.Lines(print)
    in_prefect.step("ingest", lambda: pipeline.stage(layout, "ingest", lines, lock=held))
    check = partial(pipeline.stage, layout, "validate", lines, lock=held)
    validated(layout, hooks, partial(in_prefect.step, "validate", check))
    if found := pages.drifted(layout):
        in_prefect.emit("recctl.data.drifted", layout, "evaluate-champion", {"expectations": found})
    report = in_prefect.step("score", lambda: watch(layout, print))
    in_prefect.show(Page("champion", report.sentence, page.markdown(report)))
    return report


if __name__ == "__main__":
    evaluate_champion()
