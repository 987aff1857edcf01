"""Processes for tests that start at once: forked from one that has imported the libraries."""

import multiprocessing
from multiprocessing.context import ForkServerContext

PRELOAD = [
    "mlflow.artifacts",
    "mlflow.store.model_registry.rest_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.rest_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "psycopg2",
    "racers",
    "recctl.stages.train",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite",
]
"""What takes seconds to import and opens nothing; unknown names are passed over."""


def context() -> ForkServerContext:
    """Where `Process` and `Pipe` come from."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOAD)
    return made
