"""A search for settings in MLflow: a run for the study, and below it one for each trial."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from recctl.layout import Layout
from recctl.tracking import server
from recctl.tracking.failures import plainly
from recctl.tracking.lineage import environment, lineage
from recctl.tracking.runs import find_run
from recctl.tracking.server import UNHURRIED, patience
from recctl.tracking.training import TrainingRun, continued, ending, log_params


@contextlib.contextmanager
def search_run(
    layout: Layout,
    run_id: str | None,
    *,
    name: str,
    params: Mapping[str, Any],
    parent: str | None = None,
) -> Iterator[TrainingRun]:
    """The run of a study, or of a trial whose study has the run `parent`.

    The run with the id `run_id` is continued where it exists. It ends FINISHED, FAILED on an
    exception, KILLED on an interrupt. Raises UserError when the server cannot be reached.
    """
    tracking = server.connect(layout)
    with plainly(tracking.uri), patience(*UNHURRIED):
        known = find_run(tracking.client, run_id) if run_id else None
        if known is not None:
            run = continued(tracking, known)
        else:
            tags = {"recctl.run": "trial", "mlflow.parentRunId": parent}
            if parent is None:
                tags = {**lineage(layout), **environment(), "recctl.run": "study"}
            begun = tracking.client.create_run(tracking.experiment_id, tags=tags, run_name=name)
            run = TrainingRun(tracking, begun.info.run_id, epochs=set())
        log_params(tracking.client, run.run_id, params)
    with ending(run):
        yield run


def abandon(layout: Layout, run_id: str) -> None:
    """End the run of a trial whose process was killed."""
    tracking = server.connect(layout)
    with plainly(tracking.uri), patience(*UNHURRIED):
        tracking.client.set_terminated(run_id, "FAILED")
