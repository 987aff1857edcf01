"""The engine's own troubles: a full disk, no memory, no Java, no pyspark."""

import errno
import os
import sys
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pytest

from recctl.data import engine
from recctl.data.spark import spark
from recctl.errors import UserError
from recctl.sequences import disk

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")


def numbers(count: int) -> ibis.expr.types.Table:
    return ibis.range(count).unnest().name("n").as_table()


@needs_full
def test_a_full_disk_under_duckdb(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no space left on the disk"), engine.duckdb(tmp_path) as c:
        engine.write_parquet(c, numbers(1000), FULL)
    assert list(tmp_path.iterdir()) == []


@needs_full
def test_a_full_disk_under_numpy() -> None:
    with pytest.raises(OSError, match="No space left") as failure:
        disk.save(FULL, np.arange(10**6))
    assert failure.value.errno == errno.ENOSPC


def sort_in_little_room(state: Path) -> None:
    table = numbers(3_000_000)
    with engine.duckdb(state) as connection:
        connection.raw_sql("set memory_limit = '20MiB'; set max_temp_directory_size = '1MiB'")
        connection.create_table("sorted", table.order_by(table.n % 1013), temp=True)


def test_memory_and_spill_run_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too little memory") as failure:
        sort_in_little_room(tmp_path)
    assert "\n" not in str(failure.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read or write"), engine.duckdb(tmp_path) as c:
        c.read_parquet(tmp_path / "none.parquet").count().to_pyarrow()


def test_other_errors_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(duckdb.ParserException), engine.duckdb(tmp_path) as connection:
        connection.raw_sql("no sql")
    assert list(tmp_path.iterdir()) == []


def test_without_pyspark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(UserError, match="needs pyspark"), spark(tmp_path):
        pass


@pytest.mark.spark
def test_without_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = pytest.importorskip("pyspark").SparkContext
    monkeypatch.setattr(context, "_gateway", None)  # of a session that another test had
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UserError, match="install Java") as failure, spark(tmp_path):
        pass
    assert "\n" not in str(failure.value)


def test_threads_are_those_the_process_may_use() -> None:
    if hasattr(os, "sched_getaffinity"):
        assert engine.threads() == len(os.sched_getaffinity(0))
    assert engine.threads() >= 1
