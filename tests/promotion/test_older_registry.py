"""Registries and decision logs written by older code keep working; `older_registry.py` made them.

The tests know commands, files and MLflow, and no module of `recctl.promotion`.
"""

import importlib
import json
import pkgutil
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tiny_project as tiny

import recctl
from commands import Outcome, Run
from recctl.config import Section
from recctl.layout import Layout

ARCHIVES = Path(__file__).parent / "fixtures"
SCHEMA = Path(__file__).parents[2] / "docs" / "decision.schema.json"

COVERED = {
    "registry-56855a3": "the model's content only",
    "registry-2bf6d2d": "all of them",
}
"""Which files of a version the decisions of each archive vouch for."""

DECISIONS = [  # kind, verdict, forced, challenger's version, champion afterwards
    ("promotion", "promoted", False, 1, 1),
    ("promotion", "promoted", False, 2, 2),
    ("promotion", "rejected", False, 3, None),
    ("rollback", None, False, 1, 1),
    ("promotion", "refused", False, None, None),
    ("promotion", "suspicious", False, 4, None),
    ("promotion", "suspicious", True, 4, 4),
]
SHOWN = ["PROMOTED", "PROMOTED", "REJECTED", "ROLLED BACK", "REFUSED", "SUSPICIOUS"]
SHOWN += ["PROMOTED BY FORCE"]


@pytest.fixture(scope="module", params=COVERED)
def unpacked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An older project; the tests that use it only read."""
    root = tmp_path_factory.mktemp("older") / request.param
    with tarfile.open(ARCHIVES / f"{request.param}.tar.xz") as packed:
        # Python before 3.11.4 has no filters
        packed.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        packed.extractall(root)
    (root / "dvc.yaml").write_text("stages: {}\n")
    return root


@pytest.fixture
def copied(unpacked: Path, tmp_path: Path) -> Layout:
    """An older project to change, with today's sequences and no model."""
    shutil.copytree(unpacked, tmp_path / "project")
    layout = Layout(tmp_path / "project")
    tiny.take_in(layout, tiny.log())
    return layout


def output(said: Outcome) -> dict[str, Any]:
    """The JSON that a command printed, which fits today's schema."""
    found: dict[str, Any] = json.loads(said.out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    return found


def version_folder(root: Path, number: int) -> Path:
    """The files of a version, found in the database."""
    with sqlite3.connect(root / "mlflow.db") as database:
        query = "select run_id from model_versions where name = 'tiny' and version = ?"
        (run_id,) = database.execute(query, [number]).fetchone()
    return root / "mlartifacts" / run_id / "artifacts" / "model"


def test_history_lists_every_decision(unpacked: Path, run: Run) -> None:
    rows = output(run(unpacked, "history", "--json"))["rows"]
    found = []
    for row in rows:
        body = row["body"]
        version = (body.get("challenger") or {}).get("version")
        champion = (body["sets"] or {}).get("champion")
        found.append((body["kind"], body["verdict"], body["forced"], version, champion))
    assert found == DECISIONS
    assert [(row["position"], row["state"]) for row in rows] == [(n, "done") for n in range(1, 8)]
    shown = run(unpacked, "history")
    assert shown.code == 0
    assert all(word in shown.out for word in [*SHOWN, "the lists looked odd", "someone@"])


def test_explain_decides_again_and_prints_it(unpacked: Path, run: Run) -> None:
    for number, (word, expected) in enumerate(zip(SHOWN, DECISIONS, strict=True), start=1):
        explained = output(run(unpacked, "explain", str(number), "--json"))
        assert explained["decision"]["verdict"] == expected[1]
        said = run(unpacked, "explain", str(number))
        assert said.code == 0
        assert word in said.out
        measured = expected[0] == "promotion"
        checked = "the same verdict and the same figures" if measured else "nothing was measured"
        assert checked in " ".join(said.out.split())


def test_verify_finds_everything_consistent(unpacked: Path, run: Run) -> None:
    said = run(unpacked, "verify", "--all", "--json")
    assert said.code == 0
    found = output(said)
    assert found["consistent"]
    details = {row["name"]: row["detail"] for row in found["checks"]}
    for number in range(1, 5):
        assert details[f"version {number}"].endswith(COVERED[unpacked.name])


def test_models_are_listed(unpacked: Path, run: Run) -> None:
    rows = output(run(unpacked, "models", "list", "--json"))["versions"]
    assert {row["version"]: (row["model"], sorted(row["aliases"])) for row in rows} == {
        1: ("item-knn", ["best", "previous"]),
        2: ("markov", []),
        3: ("popularity", []),
        4: ("markov", ["champion"]),
    }
    assert output(run(unpacked, "models", "show", "champion", "--json"))["versions"][0]["files"]


def test_recommend_reads_an_older_version(unpacked: Path, run: Run) -> None:
    """Version 2 is a Markov chain over users who mostly go to the next item: i8 after i7."""
    model = version_folder(unpacked, 2) / "artifacts" / "recommender"
    said = run(unpacked, "recommend", "--model", str(model), "--history", "i6,i7", "--json")
    assert said.code == 0
    assert json.loads(said.out)["recommendations"][0]["item_id"] == "i8"


def test_mlflow_serves_an_older_version_by_its_own_code(unpacked: Path) -> None:
    """In a process that has not imported today's recctl."""
    program = """
import sys, mlflow.pyfunc
answer = mlflow.pyfunc.load_model(sys.argv[1]).predict([{"history": ["i6", "i7"]}], {"k": 1})
import recctl
assert recctl.__file__.startswith(sys.argv[1]), recctl.__file__
print(answer["item_ids"][0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(version_folder(unpacked, 2))],
        capture_output=True,
        text=True,
        cwd=unpacked,
    )
    assert done.stdout == "['i8']\n", done.stderr


def test_a_new_challenger_meets_an_older_champion(copied: Layout, run: Run) -> None:
    root = copied.root
    tiny.train(copied, "item-knn")
    worse = run(root, "promote", "--dry-run", "--yes", "--json")
    assert (worse.code, output(worse)["decision"]["verdict"]) == (3, "rejected")
    assert run(root, "rollback", "--yes", "--reason", "test").code == 0
    tiny.train_markov(copied, smoothing=0.1)
    compared = output(run(root, "compare", "1", "workspace", "--json"))
    assert compared["comparison"]["users"] == tiny.USERS
    promoted = run(root, "promote", "--yes", "--json")
    assert (promoted.code, output(promoted)["position"]) == (0, 9)
    decision = output(promoted)["decision"]
    assert decision["sets"] == {"champion": 5, "previous": 1, "best": 5}
    assert run(root, "verify", "--all").code == 0
    rows = output(run(root, "verify", "--all", "--json"))["checks"]
    details = {row["name"]: row["detail"] for row in rows}
    # what takes part in a decision of today is vouched for with all of its files
    for number in (1, 5):
        assert details[f"version {number}"].endswith("decision 9 vouches for all of them")


def test_rollback_to_an_older_version(copied: Layout, run: Run) -> None:
    back = output(run(copied.root, "rollback", "--to", "2", "--yes", "--reason", "test", "--json"))
    assert back["decision"]["sets"]["champion"] == 2
    assert back["decision"]["forced"] is False
    never_served = run(copied.root, "rollback", "--to", "3", "--yes", "--reason", "test")
    assert never_served.code == 2
    assert run(copied.root, "verify", "--all").code == 0


def test_an_interrupted_promotion_of_older_code_is_finished(copied: Layout, run: Run) -> None:
    root = copied.root
    (root / "interrupted.db").replace(root / "mlflow.db")
    assert run(root, "verify").code == 2
    rows = output(run(root, "history", "--json"))["rows"]
    assert [row["state"] for row in rows[-2:]] == ["done", "pending"]
    assert run(root, "rollback", "--yes", "--reason", "test").code == 0
    rows = output(run(root, "history", "--json"))["rows"]
    assert [row["state"] for row in rows[-3:]] == ["done", "done", "done"]
    assert rows[-1]["body"]["sets"]["champion"] == 1
    assert run(root, "verify", "--all").code == 0


def test_a_changed_file_of_an_older_version_is_found(copied: Layout, run: Run) -> None:
    weights = version_folder(copied.root, 4) / "artifacts" / "recommender" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert run(copied.root, "verify").code == 2
    tiny.train(copied, "item-knn")
    refused = run(copied.root, "promote", "--yes", "--json")
    assert refused.code == 2
    assert run(copied.root, "models", "show", "champion").code == 0


def test_older_params_are_read(unpacked: Path) -> None:
    """`shipped.yaml`: the file that recctl shipped then; each section, by the class of today."""
    for module in pkgutil.walk_packages(recctl.__path__, "recctl."):
        if module.name.endswith(".params"):
            importlib.import_module(module.name)
    sections = {found.section for found in Section.__subclasses__()}
    assert {"ingest", "validate", "train", "evaluate", "promotion", "retrain"} <= sections
    for found in Section.__subclasses__():
        found.load(unpacked / "shipped.yaml")
