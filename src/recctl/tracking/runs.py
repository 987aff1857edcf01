"""Runs that are over: the one that trained the model, and its evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.config import read_params
from recctl.errors import MayPass
from recctl.files import read_json
from recctl.layout import Layout
from recctl.tracking import batches, server
from recctl.tracking.failures import plainly
from recctl.tracking.lineage import data_md5, environment, lineage
from recctl.tracking.server import UNHURRIED, Tracking, patience

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Dataset


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
    model: str | None = None,
    test_set: str = "none",
) -> str:
    """Add an evaluation to the run that trained the model; the id of that run.

    With `model`, its type, the run gets a model of MLflow's with its figures on the `test_set`, a
    fingerprint.

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
        entries = batches.metrics(metrics, step=0)
        batches.log_metrics(client, run_id, entries)
        if model:
            _log_model(tracking, run_id, model, _dataset(layout, test_set), entries)
        client.log_batch(run_id, tags=[RunTag(key, str(tag)) for key, tag in (tags or {}).items()])
        log_files(client, run_id, files, "evaluation")
    return run_id


_HEADLINE = "full/model/"


def _log_model(
    tracking: Tracking, run_id: str, kind: str, dataset: "Dataset", entries: Sequence[Any]
) -> None:
    """A model of MLflow's for the run, with the figures of full ranking on this data set.

    Only the run's input is logged where the server is older than MLflow 3, which has no models.
    """
    from mlflow.entities import DatasetInput, InputTag, LoggedModelOutput, Metric
    from mlflow.exceptions import MlflowException

    client, experiments = tracking.client, [tracking.experiment_id]
    as_test = [InputTag("mlflow.data.context", "test")]
    client.log_inputs(run_id, [DatasetInput(dataset, as_test)])
    try:
        found = client.search_logged_models(experiments, f"source_run_id = '{run_id}'")
        if found:
            model_id = found[0].model_id
        else:
            made = client.create_logged_model(*experiments, kind, run_id, model_type="recommender")
            model_id = made.model_id
            client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
            client.finalize_logged_model(model_id, "READY")
    except MlflowException as error:
        if "404" not in str(error) and error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        return
    about = (model_id, dataset.name, dataset.digest)
    figures = [
        Metric(one.key.removeprefix(_HEADLINE), one.value, one.timestamp, one.step, *about)
        for one in entries
        if one.key.startswith(_HEADLINE)
    ]
    batches.log_metrics(client, run_id, figures)


def _dataset(layout: Layout, test_set: str) -> "Dataset":
    """The project's data set for MLflow, its digest that of the test set."""
    from mlflow.entities import Dataset

    name = str(read_params(layout.params).get("ingest", {}).get("name", "interactions"))
    return Dataset(name, test_set[:12], "dvc", f"data.dvc, md5 {data_md5(layout)}")


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
