"""Parameters and metrics as MLflow takes them: names that it accepts, no request too large."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH_METRICS = 1000
BATCH_PARAMS = 100
"""What one log_batch may hold; MLflow refuses more."""


def log_params(client: "MlflowClient", run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters to a run."""
    from mlflow.entities import Param

    entries = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(entries), BATCH_PARAMS):
        client.log_batch(run_id, params=entries[start : start + BATCH_PARAMS])


def log_metrics(client: "MlflowClient", run_id: str, entries: Sequence[Any]) -> None:
    """Log what `metrics` made to a run."""
    for start in range(0, len(entries), BATCH_METRICS):
        client.log_batch(run_id, entries[start : start + BATCH_METRICS])


def metrics(row: Mapping[str, float | None], step: int, at: int | None = None) -> list[Any]:
    """MLflow's entries for the values of a row that are not None, `at` milliseconds since 1970.

    The default is now.
    """
    from mlflow.entities import Metric

    time_ms = int(time.time() * 1000) if at is None else at
    return [
        Metric(metric_name(name), float(value), time_ms, step)
        for name, value in row.items()
        if value is not None
    ]


def metric_name(name: str) -> str:
    """The name under which MLflow takes a metric: it refuses `@`.

    >>> metric_name("full/model/ndcg@10")
    'full/model/ndcg_at_10'
    """
    return re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_"))


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as text by dotted name.

    >>> flatten({"train": {"epochs": 3, "device": None}})
    {'train.epochs': '3', 'train.device': 'None'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        inner = flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat.update({f"{prefix}{key}": str(value)} if inner is None else inner)
    return flat
