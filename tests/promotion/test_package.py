import json
import os
import pickle
import shutil
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import package_cases
import pytest
import torch
from mlflow.models import Model
from mlflow.types import DataType
from mlflow.types.schema import AnyType

from recctl.errors import UserError
from recctl.models import MODELS
from recctl.promotion.manifest import Manifest
from recctl.promotion.manifest import of as manifest_of
from recctl.promotion.trial import package
from recctl.promotion.trial.package import RECOMMENDER
from recctl.promotion.trial.training_record import TrainingRecord
from recctl.recommend import Served


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return package_cases.version(tmp_path)


@pytest.fixture
def manifest(version: Path) -> Manifest:
    return manifest_of(version)


class Evil:
    """Unpickled, it would leave a file behind."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.proof,))


# --- what is in it ------------------------------------------------------------------------------


def test_our_content_lies_in_one_folder_and_no_name_of_this_machine_in_any(
    version: Path, tmp_path: Path
) -> None:
    ours = {path.name for path in (version / RECOMMENDER).iterdir()}
    assert ours == {
        "model.json", "model.safetensors", "vocabulary.json",
        "training_record.json", "training_record.safetensors",
    }  # fmt: skip
    for path in version.rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model, record = package_cases.model_folder(tmp_path)
    manifests = []
    for name in ("one", "two"):
        package.build(model, tmp_path / name, record=record)
        manifests.append(manifest_of(tmp_path / name))
    assert manifests[0] == manifests[1]
    assert all(len(one["sha256"]) == 64 for one in manifests[0].values())


def test_the_content_digest_is_that_of_weights_settings_and_vocabulary_alone(
    tmp_path: Path,
) -> None:
    model, record = package_cases.model_folder(tmp_path)
    package.build(model, tmp_path / "version", record=record)
    own = tmp_path / "version" / RECOMMENDER
    first = package.content_digest(model)
    assert package.content_digest(own) == first
    (own / "training_record.json").write_text("{}")
    assert package.content_digest(own) == first
    for name in package.MODEL_FILES:
        former = (own / name).read_bytes()
        (own / name).write_bytes(former + b" ")
        assert package.content_digest(own) != first, name
        (own / name).write_bytes(former)


def test_the_content_digest_of_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no .*model\.json; train"):
        package.content_digest(tmp_path)


def test_mlflow_reads_what_we_write(version: Path) -> None:
    """Against MLflow's own classes: the same file from its own `save` says the same."""
    model = Model.load(str(version))
    pyfunc = model.flavors["python_function"]
    assert (version / pyfunc["model_code_path"]).is_file()
    assert (version / pyfunc["code"] / "recctl" / "recommend.py").is_file()
    history = model.get_input_schema().inputs[0]
    assert (history.name, history.type) == ("history", AnyType())
    assert not history.required
    assert model.get_output_schema().input_names() == [
        "item_ids",
        "titles",
        "scores",
        "unknown_ids",
    ]
    params = {spec.name: (spec.dtype, spec.default) for spec in model.get_params_schema().params}
    assert params == {"k": (DataType.long, 10), "filter_seen": (DataType.boolean, True)}
    example = model.load_input_example(str(version))
    assert [list(row) for row in example["history"]] == [["a", "b", "c"], []]


def test_mlflow_itself_would_write_the_same_signature(version: Path, tmp_path: Path) -> None:
    model = Model.load(str(version))
    again = Model(flavors=model.flavors, signature=model.signature)
    again.save(str(tmp_path / "MLmodel"))
    ours, theirs = (
        package._yaml(path)["signature"] for path in (version / "MLmodel", tmp_path / "MLmodel")
    )
    assert {name: json.loads(text) for name, text in ours.items()} == {
        name: json.loads(text) for name, text in theirs.items()
    }


def test_the_default_of_filter_seen_is_that_of_the_evaluation(tmp_path: Path) -> None:
    model, record = package_cases.model_folder(tmp_path)
    package.build(model, tmp_path / "version", record=record, filter_seen=False)
    params = Model.load(str(tmp_path / "version")).get_params_schema().params
    assert {spec.name: spec.default for spec in params}["filter_seen"] is False


def test_requirements_are_pinned_and_can_be_had_from_an_index(version: Path) -> None:
    lines = (version / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in lines} == set(package.REQUIREMENTS)
    assert all("==" in line and "+" not in line for line in lines)
    assert f"torch=={torch.__version__.partition('+')[0]}" in lines
    assert f"numpy=={np.__version__}" in lines


@pytest.mark.parametrize("kind", list(MODELS))
def test_every_kind_of_model_recommends_as_it_did_before(tmp_path: Path, kind: str) -> None:
    folder = package_cases.version(tmp_path, kind)
    package.check(folder, manifest_of(folder))
    for history in ([], ["a"], ["c", "b", "a"]):
        before, after = (
            served.recommend(history, 3, filter_seen=True)
            for served in (Served.load(tmp_path / "model"), Served.load(folder / RECOMMENDER))
        )
        assert after == before
        assert len(after) > 0
    assert TrainingRecord.load(folder / RECOMMENDER).about["lineage"] == {"data_md5": "d41d8"}


def test_a_model_of_another_split_is_not_packaged(tmp_path: Path) -> None:
    model, record = package_cases.model_folder(tmp_path)
    record.about["split_fingerprint"] = "another"
    with pytest.raises(UserError, match="not trained on the split"):
        package.build(model, tmp_path / "version", record=record)
    assert not (tmp_path / "version").exists()


def test_a_damaged_model_is_not_packaged(tmp_path: Path) -> None:
    model, record = package_cases.model_folder(tmp_path)
    (model / "model.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="damaged"):
        package.build(model, tmp_path / "version", record=record)
    assert not (tmp_path / "version").exists()


# --- what is refused ----------------------------------------------------------------------------


def refused(version: Path, manifest: Manifest, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        package.check(version, manifest)
    assert "\n" not in str(caught.value)


def test_what_was_built_passes(version: Path, manifest: Manifest) -> None:
    package.check(version, manifest)
    assert manifest.keys() == {
        path.relative_to(version).as_posix() for path in version.rglob("*") if path.is_file()
    }


def test_one_bit_of_any_file_shows(version: Path, manifest: Manifest) -> None:
    for name in manifest:
        path = version / name
        former = path.read_bytes()
        changed = bytearray(former or b"\0")
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        refused(version, manifest, f"'{name}' is not the file registered")
        path.write_bytes(former)
    package.check(version, manifest)


def test_every_missing_file_shows(version: Path, manifest: Manifest) -> None:
    for name in manifest:
        path = version / name
        former = path.read_bytes()
        path.unlink()
        refused(version, manifest, f"'{name}' is missing")
        path.write_bytes(former)


def test_swapped_files_show(version: Path, manifest: Manifest) -> None:
    own = version / RECOMMENDER
    (own / "model.safetensors").rename(own / "kept")
    (own / "training_record.safetensors").rename(own / "model.safetensors")
    (own / "kept").rename(own / "training_record.safetensors")
    refused(version, manifest, r"'artifacts/recommender/model.safetensors' is not the file")


@pytest.mark.parametrize("name", ["more.json", "code/recctl/more.py", "artifacts/more.safetensors"])
def test_an_added_file_shows(version: Path, manifest: Manifest, name: str) -> None:
    (version / name).write_text("{}")
    refused(version, manifest, f"'{name}' was not registered")


def test_links_are_refused(version: Path, manifest: Manifest, tmp_path: Path) -> None:
    path = version / RECOMMENDER / "model.json"
    outside = tmp_path / "outside.json"
    path.rename(outside)
    path.symlink_to(outside)
    refused(version, manifest, "no plain file")
    with pytest.raises(UserError, match="no plain file"):
        manifest_of(version)
    path.unlink()
    outside.rename(path)
    package.check(version, manifest)
    shutil.copytree(version / "code", tmp_path / "code")
    shutil.rmtree(version / "code")
    (version / "code").symlink_to(tmp_path / "code")
    refused(version, manifest, "'code' is no plain file")


def test_a_link_to_the_whole_version_is_refused(
    version: Path, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(version)
    refused(tmp_path / "link", manifest, "no folder")
    refused(tmp_path / "nowhere", manifest, "no folder")


def test_a_pipe_is_refused_and_not_read(version: Path, manifest: Manifest) -> None:
    path = version / "requirements.txt"
    path.unlink()
    os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    refused(version, manifest, "no plain file")


@pytest.mark.parametrize("name", ["../model.json", "/etc/passwd", "a/../../b.json", "a//b.json"])
def test_a_manifest_may_not_point_elsewhere(version: Path, manifest: Manifest, name: str) -> None:
    refused(version, {**manifest, name: "0" * 64}, "is outside")


@pytest.mark.parametrize(
    "suffix", ["pkl", "pickle", "pt", "pth", "bin", "joblib", "cloudpickle", "npy", "pyc", "so"]
)
def test_a_version_that_contains_a_pickle_is_refused(
    version: Path, tmp_path: Path, suffix: str
) -> None:
    """Registered with it or not: the manifest names it, and it is refused all the same."""
    proof = tmp_path / "proof"
    (version / f"artifacts/model.{suffix}").write_bytes(pickle.dumps(Evil(proof)))
    refused(version, manifest_of(version), "of no kind that a version may hold")
    assert not proof.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "name",
    ["artifacts/recommender/model.json", "artifacts/recommender/model.safetensors", "MLmodel",
     "conda.yaml", "requirements.txt", "serving.py", "__pycache__", "registered_model_meta"],
)  # fmt: skip
def test_a_pickle_under_another_name_is_refused(
    version: Path, tmp_path: Path, name: str, protocol: int
) -> None:
    proof = tmp_path / "proof"
    (version / name).write_bytes(pickle.dumps(Evil(proof), protocol))
    refused(version, manifest_of(version), f"'{name}'")
    assert not proof.exists()


def test_a_zip_of_torch_under_the_name_of_the_weights_is_refused(version: Path) -> None:
    path = version / RECOMMENDER / "model.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    assert zipfile.is_zipfile(path)
    refused(version, manifest_of(version), "not a safetensors file")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda pyfunc: pyfunc.update(loader_module="mlflow.pyfunc.model"), "not from code"),
        (lambda pyfunc: pyfunc.update(loader_module="mlflow.sklearn"), "not from code"),
        (lambda pyfunc: pyfunc.update(python_model="python_model.pkl"), "names a 'python_model'"),
        (lambda pyfunc: pyfunc.update(data="model"), "names a 'data'"),
        (lambda pyfunc: pyfunc.update(model_code_path="code/recctl/files.py"), "other code"),
    ],
)
def test_an_mlmodel_that_would_unpickle_is_refused(version: Path, change: Any, match: str) -> None:
    content = package._yaml(version / "MLmodel")
    change(content["flavors"]["python_function"])
    package._write_yaml(version / "MLmodel", content)
    refused(version, manifest_of(version), match)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "flavors: 3", "flavors: {sklearn: {}}", "a: [", "a: !!python/object:os.x {}"],
)
def test_an_mlmodel_of_another_kind_is_refused(version: Path, text: str) -> None:
    (version / "MLmodel").write_text(text)
    refused(version, manifest_of(version), "another kind of model")


def test_what_mlflow_notes_in_a_local_store_is_no_damage(version: Path, manifest: Manifest) -> None:
    note = version / "registered_model_meta"
    note.write_text("model_name: recommender\nmodel_version: '3'\n")
    package.check(version, manifest)
    assert manifest_of(version) == manifest
    note.write_text("model_name: recommender\nrun: rm\n")
    refused(version, manifest, "not what its name says")
    note.unlink()
    (version / "code" / "registered_model_meta").write_text("model_name: a\n")
    refused(version, manifest, "was not registered")
