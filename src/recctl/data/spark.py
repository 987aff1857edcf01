"""A Spark session as an ibis connection: on this machine, on a cluster, or by Spark Connect."""

import contextlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis

from recctl.data.engine import threads
from recctl.data.params import Spark
from recctl.errors import UserError

_SQL = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    # Paths are those of this machine, also where the cluster's own file system is another.
    "fs.defaultFS": "file:///",
}
"""Settings of the session, without which times and paths differ from those of DuckDB."""

_QUIET = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
_CONNECT_TRIES = 4
"""Attempts within five seconds; by default a client tries for ten minutes."""


@contextlib.contextmanager
def spark(state: Path, chosen: Spark | None = None) -> Iterator[Any]:
    """An ibis connection to Spark: the active session, or a new one, local unless chosen otherwise.

    Raises UserError when pyspark or Java is missing, or when Spark does not start, cannot be
    reached or fails in a query.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise UserError(
            "the engine 'spark' needs pyspark", "pip install 'recctl[spark]', or use duckdb"
        ) from None
    running = SparkSession.getActiveSession()
    # The error says so; the client warns once more when the process ends.
    warnings.filterwarnings("ignore", r"\[RETRIES_EXCEEDED\]")
    with warnings.catch_warnings():
        # pyspark warns often that pandas 3 is new to it; the parts used here work.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
        session = _session(running, state, chosen or Spark())
        try:
            yield ibis.pyspark.connect(session)
        except PySparkException as error:
            raise UserError(f"Spark failed ({_reason(error)})", "see Spark's own logs") from None
        finally:
            if running is None:
                session.stop()


def _session(running: Any, state: Path, chosen: Spark) -> Any:
    """The running session, or else a new one, with the settings of `_SQL`."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        session = running or (_remote(chosen.remote) if chosen.remote else _classic(state, chosen))
        for key, value in ((chosen.config if chosen.remote else {}) | _SQL).items():
            session.conf.set(key, value)
        return session
    except (PySparkException, Py4JError, FileNotFoundError) as error:
        fix = "install Java 17 or newer, or use duckdb"
        if chosen.remote or chosen.master:
            fix = "correct ingest.spark in params.yaml, or use duckdb"
        raise UserError(f"Spark does not start ({_reason(error)})", fix) from None


def _remote(url: str) -> Any:
    from pyspark.sql import SparkSession

    if importlib.util.find_spec("grpc") is None:
        raise UserError("Spark Connect needs grpcio", "pip install 'recctl[spark]'")
    from pyspark.sql.connect.client.retries import DefaultPolicy

    session = SparkSession.builder.remote(url).create()
    session.client.set_retry_policies([DefaultPolicy(max_retries=_CONNECT_TRIES)])
    return session


def _classic(state: Path, chosen: Spark) -> Any:
    from pyspark.sql import SparkSession

    settings = _QUIET | {"spark.sql.warehouse.dir": str(state / "spark-warehouse")}
    if chosen.master is None:
        settings |= {
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": str(2 * threads()),
        }
    builder = SparkSession.builder.master(chosen.master or f"local[{threads()}]")
    for key, value in (settings | chosen.config).items():
        builder = builder.config(key, value)
    return builder.appName("recctl").getOrCreate()


def _reason(error: Exception) -> str:
    """The error in one line: of a message of gRPC its details."""
    text = " ".join(str(error).split())
    details = re.search(r'details = "(.+?)"', text)
    return (details[1] if details else text)[:300]
