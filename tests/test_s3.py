"""DVC's remote and MLflow's artifacts in an S3 bucket, on a server on this machine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import add_model, connect, fresh_sqlite

import buckets
from recctl import doctor, dvc
from recctl.data import versions
from recctl.errors import Gone, MayPass
from recctl.layout import Layout
from recctl.promotion.ledger import aliases
from recctl.tracking.failures import plainly


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with buckets.server() as address:
        yield address


@pytest.fixture(autouse=True)
def _environment_names(server: str) -> None:
    buckets.known_to_all(server)


@pytest.mark.usefixtures("quick_dvc")
def test_data_is_pushed_and_pulled(tmp_path: Path) -> None:
    here, there = Layout(tmp_path / "here"), Layout(tmp_path / "there")
    (here.root / ".dvc").mkdir(parents=True)
    (here.root / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    analytics = false\n    remote = store\n"
        "['remote \"store\"']\n    url = s3://shop/dvc\n"
    )
    here.data.mkdir()
    (here.data / "log.csv").write_text("user_id,item_id\nann,tea\n")
    versions.add(here)
    dvc.output(here, "push")

    there.root.mkdir()
    shutil.copy(here.root / "data.dvc", there.root)
    shutil.copytree(here.root / ".dvc", there.root / ".dvc", ignore=lambda *_: ["cache", "tmp"])
    dvc.output(there, "pull")
    assert (there.data / "log.csv").read_text() == "user_id,item_id\nann,tea\n"


def test_the_doctor_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: unexpected error - s3 is supported, but requires 'dvc-s3' to be installed\n\n"
    said += "Having any troubles? Hit us up at https://dvc.org/support"
    monkeypatch.setattr(dvc, "ask", lambda *_, **__: dvc.Answer(255, "", said))
    (tmp_path / "data.dvc").touch()
    found = doctor._remote(Layout(tmp_path))
    assert found.found == "DVC: s3 is supported, but requires 'dvc-s3' to be installed"
    assert found.fix == "pip install 'recctl[s3]'"


def test_models_and_evidence_are_kept_in_the_bucket_that_the_experiment_names(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(aliases, "SECONDS_BETWEEN_LOOKS", 0.0)
    uri = fresh_sqlite(tmp_path)
    MlflowClient(uri, registry_uri=uri).create_experiment("recctl", "s3://shop/mlflow")
    registry = connect(tmp_path, uri)
    assert registry.tracking.experiment == "recctl"
    version = add_model(registry, tmp_path, "a")
    assert version.source.startswith("s3://shop/mlflow/")
    copy = registry.download(version, tmp_path / "copy")
    assert (copy / "model.json").read_text() == '"a"'

    run = registry.decision_run("a decision")
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "ranks.json").write_text(json.dumps([1, 2]))
    registry.log_files(run, tmp_path / "evidence", "decision")
    brought = registry.fetch(run, "decision", tmp_path / "brought", ["ranks.json"])
    assert json.loads((brought / "ranks.json").read_text()) == [1, 2]

    s3 = buckets.client(server)
    for held in s3.list_objects_v2(Bucket="shop", Prefix="mlflow")["Contents"]:
        if "/model/" in held["Key"]:
            s3.delete_object(Bucket="shop", Key=held["Key"])
    with pytest.raises(Gone, match="version 1"):
        registry.download(version, tmp_path / "again")


def test_a_store_that_is_away_is_named_in_the_fix(tmp_path: Path) -> None:
    from botocore.exceptions import EndpointConnectionError

    with (
        pytest.raises(MayPass, match=r"http://127.0.0.1:9/shop.*; check the artifact store's endp"),
        plainly(f"sqlite:///{tmp_path}/mlflow.db"),
    ):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9/shop")
