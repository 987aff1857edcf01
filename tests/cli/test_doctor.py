"""recctl doctor: what it finds in projects that are well and in projects that are not."""

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

import ports
from recctl import doctor, telemetry
from recctl.cli.app import app
from recctl.data.forecast import rows_about
from recctl.doctor import Check
from recctl.layout import Layout

ROOT = Path(__file__).parents[2]


def dvc(root: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    subprocess.run(command, cwd=root, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*telemetry.OFF, "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", "/")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with data that its DVC remote holds; no git, which is only a warning."""
    root = tmp_path_factory.mktemp("healthy")
    shutil.copy(ROOT / "params.yaml", root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "data").mkdir()
    (root / "data" / "log.csv").write_text("user_id,item_id,timestamp\n")
    dvc(root, "init", "--no-scm")
    dvc(root, "config", "core.analytics", "false")
    dvc(root, "remote", "add", "-d", "starter", "starter")
    dvc(root, "add", "data")
    dvc(root, "push")
    return root


@pytest.fixture
def project(healthy: Path, tmp_path: Path) -> Layout:
    shutil.copytree(healthy, tmp_path / "project")
    return Layout(tmp_path / "project")


def look(layout: Layout, name: str) -> Check:
    """One check alone; all of them take seconds."""
    checks = {
        "packages": lambda layout: doctor._packages(),
        "device": lambda layout: doctor._device(doctor._wanted_device(layout)),
        "disk": lambda layout: doctor.disk(layout.root),
        "data": doctor.data,
        "remote": doctor._remote,
        "engine": doctor._engine,
        "log": doctor._log,
        "tracking": doctor._tracking,
    }
    return doctor.guarded(name, lambda: checks[name](layout))


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", *arguments])
    return done.exit_code, done.output


def test_a_healthy_project(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    code, output = run("--json")
    content = json.loads(output)
    found = {check["name"]: check for check in content["checks"]}
    assert {name for name, check in found.items() if check["state"] == "blocked"} == set()
    assert (code, content["usable"]) == (0, True)
    assert list(found) == [
        "packages", "telemetry", "cores", "memory", "disk", "device",
        "project", "settings", "engine", "log", "code", "data", "remote", "git", "tracking",
        "champion",
    ]  # fmt: skip
    assert found["data"]["state"] == found["remote"]["state"] == "ok"
    assert found["packages"]["values"]["torch"] == torch.__version__
    assert found["device"]["values"]["gflops"]["float32"] > 0.1
    assert not (project.root / "mlflow.db").exists()


def test_what_a_person_sees(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    code, output = run()
    assert code == 0
    assert "✓  disk" in output
    assert "!  telemetry" in output
    assert "to do: unset it, or set DO_NOT_TRACK=true" in output
    assert "Ready" in output


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run()
    assert code == 2
    assert "✗  project" in output
    assert "Not usable yet: project" in output


def test_a_terminal_that_knows_only_ascii(tmp_path: Path) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [Path(sys.executable).with_name("recctl"), "doctor"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "x  project" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("unreasoned_per_year: 0.5 ", "unreasoned_per_year is not set"),
        ("serving: true ", "serving is off"),
        ("refit: {minimum_overlap: 0.1} ", "refit is off"),
    ],
)
def test_a_policy_of_before_a_gate(project: Layout, key: str, found: str) -> None:
    text = project.params.read_text()
    assert f"  {key}" in text
    project.params.write_text(text.replace(f"  {key}", "  # none "))
    check = {one.name: one for one in doctor.examine(project.root)}["settings"]
    assert check.state == "warning"
    assert found in check.found


def test_a_secret_in_an_address_of_notify(project: Layout) -> None:
    text = project.params.read_text()
    assert "  addresses: [] " in text
    secret = "  addresses: ['mailto://ann:s3cret@example.com']"
    project.params.write_text(text.replace("  addresses: [] ", secret))
    check = doctor._settings(project)
    assert check.state == "warning"
    assert check.found == "notify.addresses contains a password or a token: address 1 (mailto)"
    project.params.write_text(text.replace("  addresses: [] ", secret.replace("s3cret", "${PW}")))
    assert doctor._settings(project).state == "ok"


def test_misspelt_settings(project: Layout) -> None:
    text = project.params.read_text()
    project.params.write_text(text.replace("batch_size:", "batchsize:"))
    found = {check.name: check for check in doctor.examine(project.root)}
    assert found["settings"].state == "blocked"
    assert "batchsize" in found["settings"].found
    assert "engine" not in found
    assert found["device"].state == "ok"


def test_a_device_that_is_not_there(project: Layout) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has mps")
    text = project.params.read_text()
    project.params.write_text(text.replace("device: auto", "device: mps"))
    found = look(project, "device")
    assert found.state == "blocked"
    assert "'mps' is not available" in found.found


def lose(root: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(root / name)


def change(root: Path) -> None:
    (root / "data" / "log.csv").write_text("another\n")


def change_and_add(root: Path) -> None:
    change(root)
    dvc(root, "add", "data")


NOT_FETCHED, NOWHERE = ("data", ".dvc/cache"), ("data", ".dvc/cache", "starter")


@pytest.mark.parametrize(
    ("spoil", "name", "state", "fix"),
    [
        (lambda root: lose(root, *NOT_FETCHED), "data", "warning", "fetch it: 'dvc pull data.dvc'"),
        (lambda root: lose(root, *NOT_FETCHED), "remote", "ok", None),
        (lambda root: lose(root, *NOWHERE), "remote", "blocked", "dvc push data.dvc"),
        (change, "data", "warning", "dvc add data"),
        (change_and_add, "data", "ok", None),
        (change_and_add, "remote", "warning", "push it: 'dvc push data.dvc'"),
        (lambda root: (root / "data.dvc").unlink(), "data", "blocked", "recctl data use"),
        (lambda root: dvc(root, "remote", "remove", "starter"), "remote", "warning", "remote add"),
    ],
)
def test_data_and_its_remote(
    project: Layout, spoil: Callable[[Path], None], name: str, state: str, fix: str | None
) -> None:
    spoil(project.root)
    found = look(project, name)
    assert found.state == state
    assert (fix is None and found.fix is None) or str(fix) in str(found.fix)


def test_a_remote_that_cannot_be_reached_keeps_its_secrets(project: Layout) -> None:
    dvc(project.root, "remote", "modify", "starter", "url", "http://ann:s3cret@127.0.0.1:9/x")
    found = look(project, "remote")
    assert found.state == "warning"
    assert "s3cret" not in found.found


def test_a_tracking_server_that_cannot_be_reached(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ports.refusing() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@127.0.0.1:{port}")
        found = look(project, "tracking")
    assert found.state == "blocked"
    assert f"http://127.0.0.1:{port}" in found.found
    assert "s3cret" not in found.found


def test_a_package_outside_of_its_range(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._version
    versions = {"sqlalchemy": "2.1.9", "duckdb": None}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, real(name)))
    found = look(project, "packages")
    assert found.state == "blocked"
    assert found.found == "duckdb missing (needs >=2.0), sqlalchemy 2.1.9 (needs <2.1,>=2.0)"
    assert "with pip" in str(found.fix)


def test_little_disk(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(free: float) -> Any:
        return lambda path: shutil._ntuple_diskusage(10**12, 10**12 - free, free)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", usage(2**30))
    assert look(project, "disk").state == "warning"
    monkeypatch.setattr(shutil, "disk_usage", usage(2**20))
    assert look(project, "disk").state == "blocked"


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("CUDA error"), ValueError("odd")])
def test_a_check_that_fails_is_a_finding(error: Exception) -> None:
    def broken() -> Check:
        raise error

    found = doctor.guarded("device", broken)
    assert (found.name, found.state, found.found) == ("device", "blocked", str(error))


@pytest.mark.parametrize(
    ("name", "value", "state"),
    [
        ("MLFLOW_DISABLE_TELEMETRY", "1", "warning"),
        ("MLFLOW_DISABLE_TELEMETRY", "true", "ok"),
        ("DO_NOT_TRACK", "1", "ok"),
        ("GX_ANALYTICS_ENABLED", "true", "warning"),
    ],
)
def test_telemetry(monkeypatch: pytest.MonkeyPatch, name: str, value: str, state: str) -> None:
    monkeypatch.setenv(name, value)
    assert doctor._telemetry(None).state == state


def test_spark_without_java(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    project.params.write_text("ingest: {name: log, files: [log.csv], format: csv, engine: spark}\n")
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(project.root))
    found = look(project, "engine")
    assert found.state == "blocked"
    assert "pyspark" in found.found
    assert "Java" in found.found


def test_spark_connect_needs_grpcio_but_no_java(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_version", {"pyspark": "4.3.0"}.get)
    monkeypatch.setenv("PATH", str(project.root))
    spark = "ingest: {name: log, files: [log.csv], format: csv, engine: spark, spark: {remote: "
    project.params.write_text(spark + "'sc://host'}}\n")
    found = look(project, "engine")
    assert found.state == "blocked"
    assert "grpcio" in found.found
    assert "Java" not in found.found


def test_the_log_against_memory_and_disk(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    project.interactions.mkdir(parents=True, exist_ok=True)
    report = project.interactions / "report.json"
    report.write_text('{"rows_in": 100000000}')
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: (8 * 2**30, 4 * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=16 * 10**9))
    found = look(project, "log")
    assert found.state == "ok"
    assert found.found.startswith("about 100,000,000 rows: 359 s on two cores, 3.8 GB of memory")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=14 * 10**9))
    assert str(look(project, "log").fix).startswith("free some disk")
    monkeypatch.setattr(doctor, "_memory_bytes", lambda: (8 * 2**30, 2**30))
    assert str(look(project, "log").fix).startswith("free some memory and disk")


def test_rows_of_a_log_that_was_not_read(project: Layout) -> None:
    (project.data / "log.csv").write_bytes(b"1,2,3\n" * 50)
    (project.data / "log.csv.gz").write_bytes(gzip.compress(b"1\n" * 99))
    pq.write_table(pa.table({"user_id": [1, 2, 3]}), project.data / "log.parquet")
    rows = {"log.csv": 10, "log.csv.gz": 3, "log.parquet": 3, "none.csv": None}
    for name, expected in rows.items():
        form = "parquet" if name.endswith("parquet") else "csv"
        project.params.write_text(f"ingest: {{name: log, files: [{name}], format: {form}}}\n")
        assert rows_about(project) == expected, name
