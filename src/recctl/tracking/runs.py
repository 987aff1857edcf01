"""Runs that are over: the one that trained the model, and its evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.errors import MayPass
from recctl.files import read_json
from recctl.layout import Layout
from recctl.tracking import batches, server
from recctl.tracking.failures import plainly
from recctl.tracking.lineage import environment, lineage
from recctl.tracking.server import UNHURRIED, Tracking, patience

if TYPE_CHECKING:
    from mlflow import MlflowClient


def find_run(client: "MlflowClient", run_id: str) -> Any:
    """The run; None when this server does not have it, or it is deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    if run.info.run_id != run_id:
        raise MayPass(f"MLflow answers for another run than {run_id}", "run the command again")
    return run if run.info.lifecycle_stage == "active" else None


def log_files(client: "MlflowClient", run_id: str, files: Sequence[Path], folder: str) -> None:
    """Keep copies of files, or whole folders, below a folder of a run."""
    for file in files:
        if file.is_dir():
            client.log_artifacts(run_id, str(file), f"{folder}/{file.name}")
        else:
            client.log_artifact(run_id, str(file), folder)


def log_evaluation(
    layout: Layout,
    *,
    metrics: Mapping[str, float],
    files: Sequence[Path] = (),
    tags: Mapping[str, str] | None = None,
) -> str:
    """Add an evaluation to the run that trained the model; the id of that run.

    A model from DVC's cache may have been trained on another machine, in a run that this server
    does not know: then one run is created that names it in the tag `recctl.trained_as`.
    Raises UserError when the server cannot be reached.
    """
    from mlflow.entities import RunTag

    trained = trained_run(layout)
    tracking = server.connect(layout)
    client = tracking.client
    with plainly(tracking.uri), patience(*UNHURRIED):
        run = find_run(client, trained)
        run_id: str = run.info.run_id if run else _stand_in(tracking, layout, trained)
        batches.log_metrics(client, run_id, batches.metrics(metrics, step=0))
        client.log_batch(run_id, tags=[RunTag(key, str(tag)) for key, tag in (tags or {}).items()])
        log_files(client, run_id, files, "evaluation")
    return run_id


def trained_run(layout: Layout) -> str:
    """The id of the run that trained the model; UserError when train did not leave it."""
    return str(read_json(layout.training / "run.json", "train", ["run_id"])["run_id"])


def _stand_in(tracking: Tracking, layout: Layout, trained: str) -> str:
    """The run here of a model whose own run is on another server; always the same one."""
    client = tracking.client
    query = f"tags.`recctl.trained_as` = '{trained}'"
    found = client.search_runs([tracking.experiment_id], query, max_results=1)
    if found:
        identifier: str = found[0].info.run_id
        return identifier
    tags = {**lineage(layout), **environment(), "recctl.trained_as": trained}
    run = client.create_run(tracking.experiment_id, tags=tags, run_name=f"restored-{trained[:8]}")
    client.set_terminated(run.info.run_id, "FINISHED")
    return str(run.info.run_id)
