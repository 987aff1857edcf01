"""Bad input to promotion's commands: one line, exit code 2, and nothing changed.

Every case begins with a project with a champion (version 1, its model still the workspace's),
damages one thing in it and runs one command. The registry and every file but recctl's own cache
must be the same before and after.
"""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tiny_project as tiny
from safetensors.numpy import load_file, save_file

from commands import Outcome, Run
from recctl.layout import Layout
from recctl.promotion import history

pytestmark = pytest.mark.usefixtures("quick_decisions")

Damage = Callable[[Layout], None]


class Projects(NamedTuple):
    """Two finished projects, never to be changed."""

    champion: Path
    empty: Path


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Projects:
    folder = tmp_path_factory.mktemp("bad-input")
    layout = tiny.make(folder / "empty")
    tiny.train(layout, "markov")
    champion = moved(layout.root, folder / "champion")
    tiny.promote(champion)
    shutil.rmtree(champion.state)  # versions are brought from the registry, not from a cache
    return Projects(champion.root, layout.root)


PATHS = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "model_versions": ["source", "storage_location"],
}
"""Columns in which MLflow keeps absolute paths."""


def moved(root: Path, to: Path) -> Layout:
    """A copy of a project whose registry knows where it is now."""
    shutil.copytree(root, to)
    with contextlib.closing(sqlite3.connect(to / "mlflow.db")) as database, database:
        for table, columns in PATHS.items():
            for column in columns:
                change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
                database.execute(change, (f"{root}/", f"{to}/"))
    return Layout(to)


@pytest.fixture
def project(projects: Projects, tmp_path: Path) -> Layout:
    """A champion serves, and the workspace holds the same model."""
    return moved(projects.champion, tmp_path / "project")


@pytest.fixture
def empty(projects: Projects, tmp_path: Path) -> Layout:
    """A trained model and a registry without one."""
    return moved(projects.empty, tmp_path / "project")


def contents(layout: Layout) -> dict[str, str]:
    """Every row of the registry's database and the digest of every file but recctl's cache."""
    found = {
        path.relative_to(layout.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in layout.root.rglob("*")
        if path.is_file() and os.access(path, os.R_OK)
    }
    database = layout.root / "mlflow.db"
    kept = {
        name: value
        for name, value in found.items()
        if not name.startswith((".recctl/", "mlflow.db"))
    }
    with (
        contextlib.suppress(sqlite3.DatabaseError),
        contextlib.closing(sqlite3.connect(database)) as open_,
    ):
        kept["rows"] = "\n".join(open_.iterdump())
    return kept


def assert_one_line(said: Outcome, *words: str) -> None:
    """Exit code 2 and one line: what is wrong and how to fix it; progress may precede it."""
    assert "Traceback" not in said.err + said.out, said.err
    lines = [line for line in said.err.splitlines() if ": ranked " not in line]
    assert said.code == 2, said
    assert len(lines) == 1, said.err
    assert lines[0].startswith("recctl: ")
    assert "; " in lines[0], f"no way to fix it: {lines[0]}"
    for one in words:
        assert one in lines[0], lines[0]


# --- what can be damaged


def nothing(layout: Layout) -> None:
    """The mistake is in the command itself."""


def policy(**changes: Any) -> Damage:
    return lambda layout: tiny.set_params(layout.root, promotion={**tiny.POLICY, **changes})


def only(**settings: Any) -> Damage:
    return lambda layout: tiny.set_params(layout.root, promotion=settings)


def raw_params(edit: Callable[[str], str]) -> Damage:
    def damage(layout: Layout) -> None:
        layout.params.write_text(edit(layout.params.read_text()))

    return damage


def no_section(layout: Layout) -> None:
    from recctl.config import read_params

    document = {k: v for k, v in read_params(layout.params).items() if k != "promotion"}
    layout.params.write_text(json.dumps(document))


def remove(name: str) -> Damage:
    def damage(layout: Layout) -> None:
        path = layout.root / "artifacts" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def write(name: str, content: bytes | str) -> Damage:
    def damage(layout: Layout) -> None:
        raw = content.encode() if isinstance(content, str) else content
        (layout.root / "artifacts" / name).write_bytes(raw)

    return damage


def json_file(name: str, **changes: Any) -> Damage:
    """Other values in a JSON object."""

    def damage(layout: Layout) -> None:
        path = layout.root / "artifacts" / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def both(*damages: Damage) -> Damage:
    def damage(layout: Layout) -> None:
        for one in damages:
            one(layout)

    return damage


def weights(value: float) -> Damage:
    """The first number of the model's first weights."""

    def damage(layout: Layout) -> None:
        path = layout.model / "model.safetensors"
        tensors = load_file(path)
        name = next(name for name, one in tensors.items() if one.dtype == np.float32)
        tensors[name].flat[0] = value
        save_file(tensors, path)

    return damage


def other_split(layout: Layout) -> None:
    """New data was split and evaluated, and nothing trained on it."""
    tiny.take_in(layout, tiny.log(days=14))
    tiny.evaluate(layout)


def other_data(layout: Layout) -> None:
    """New data was split, and neither trained on nor evaluated."""
    tiny.take_in(layout, tiny.log(days=14))


def item_knn(layout: Layout) -> None:
    """Another model than the champion."""
    tiny.train(layout, "item-knn")


MODEL, EVALUATION, SEQUENCES = "model", "evaluation", "sequences"
GARBAGE = b"\x00\xff\xfe garbage \x80" * 50
PROMOTE = "promote --yes --force --reason test"
"""--force does not help, whatever is damaged."""

Case = tuple[str, Damage, *tuple[str, ...]]

CASES: dict[str, Case] = {
    # names
    "an unknown version to compare": ("compare 7 1", nothing, "no version 7", "known: 1"),
    "an unknown version to roll back to": (
        "rollback --to 7 --reason x --yes", nothing, "no version 7", "known: 1",
    ),
    "version nought": ("rollback --to 0 --reason x --yes", nothing, "no version 0", "known: 1"),
    "an unknown version to show": ("models show 7", nothing, "no version 7", "known: 1"),
    "an unknown alias": ("compare workspace staging", nothing, "no version 'staging'", "champion"),
    "a path for a version": ("compare ../1 1", nothing, "no version '../1'"),
    "markup for a version": ("models show [red]", nothing, "no version '[red]'"),
    "a version of control codes": ("models show \x1b[31m", nothing, "no version"),
    "an unknown decision": ("explain 9", nothing, "no decision 9", "known: 1 to 1"),
    "decision nought": ("explain 0", nothing, "no decision 0"),
    "the champion already": (
        "rollback --to 1 --reason x --yes", nothing, "version 1 is the champion already",
    ),
    "no champion before": ("rollback --reason x --yes", nothing, "served before this one", "--to"),
    # the command line
    "force without a reason": ("promote --yes --force", nothing, "--force needs a reason"),
    "force with an empty reason": (
        "promote --yes --force --reason=", nothing, "--force needs a reason",
    ),
    "a rollback with an empty reason": ("rollback --yes --reason=", nothing, "reason"),
    "no terminal": ("promote", nothing, "no terminal to ask", "--yes"),
    "no terminal for a rollback": (
        "rollback --reason x", nothing, "no terminal to ask", "--yes",
    ),
    # params.yaml
    "no section": (PROMOTE, no_section, "no section 'promotion'"),
    "no section, history": ("history", no_section, "no section 'promotion'"),
    "a key misspelt": (PROMOTE, policy(primry={}), "'promotion.primry'", "'primary'"),
    "an inner key misspelt": (
        PROMOTE, policy(primary={"margn": 0.1}), "'promotion.primary.margn'", "'margin'",
    ),
    "a metric misspelt": (
        PROMOTE, policy(primary={"metrics": ["ncdg@10"]}), "promotion.primary.metrics", "ncdg",
    ),
    "a metric that is none": (
        PROMOTE, policy(floors={"precision@10": 0.1}), "promotion.floors", "precision",
    ),
    "a metric twice": (
        PROMOTE, policy(primary={"metrics": ["hr@10", "hr@10"]}), "named twice",
    ),
    "an unknown baseline": (PROMOTE, policy(baselines=["random"]), "promotion.baselines.0"),
    "a margin of text": (PROMOTE, policy(primary={"margin": "1%"}), "promotion.primary.margin"),
    "a negative margin": (PROMOTE, policy(primary={"margin": -0.1}), "promotion.primary.margin"),
    "few resamples": (PROMOTE, policy(resamples=10), "promotion.resamples"),
    "a path for a name": ("history", policy(registered_model="../x"), "registered_model"),
    "a quote in a name": ("history", policy(registered_model="x' OR '1"), "registered_model"),
    "a line end in a name": ("history", policy(registered_model="x\n"), "registered_model"),
    "no name": ("history", policy(registered_model=""), "registered_model"),
    "a section that is a list": (
        PROMOTE, raw_params(lambda text: text.replace("promotion:", "promotion: [1]\nold:")), "",
    ),
    # the workspace
    "no model": (PROMOTE, remove(MODEL), "artifacts/model", "dvc repro"),
    "no model to compare": ("compare workspace 1", remove(MODEL), "artifacts/model", "dvc repro"),
    "no weights": (PROMOTE, remove(f"{MODEL}/model.safetensors"), "model.safetensors", "train"),
    "no settings": (PROMOTE, remove(f"{MODEL}/model.json"), "model.json", "train"),
    "no sequences": (PROMOTE, remove(SEQUENCES), SEQUENCES, "dvc repro sequence-split"),
    "no sequences to compare on": ("compare 1 1", remove(SEQUENCES), SEQUENCES),
    "not evaluated": (PROMOTE, remove(EVALUATION), EVALUATION, "dvc repro evaluate"),
    "no ranks": (
        PROMOTE, both(item_knn, remove(f"{EVALUATION}/ranks.parquet")), "ranks.parquet", "evaluate",
    ),
    "no curve": (PROMOTE, both(item_knn, remove("training/curve.csv")), "curve.csv", "train"),
    "no run": (
        PROMOTE, both(item_knn, remove("training/run.json")),
        "run.json", "train",
    ),
    "trained on another split": (PROMOTE, other_split, "trained on another split", "dvc repro"),
    "evaluated on other data": (PROMOTE, other_data, "metrics.json", "other data", "dvc repro"),
    "evaluated by other rules": (
        PROMOTE, lambda la: tiny.set_params(la.root, evaluate={"filter_seen": False}),
        "metrics.json", "by other rules",
    ),
    "settings damaged": (PROMOTE, write(f"{MODEL}/model.json", GARBAGE), "model.json is damaged"),
    "settings a list": (PROMOTE, write(f"{MODEL}/model.json", "[1]"), "model.json"),
    "settings of an unknown model": (
        PROMOTE, json_file(f"{MODEL}/model.json", model="gru"), "unknown model", "gru",
    ),
    "settings without their origin": (
        PROMOTE, json_file(f"{MODEL}/model.json", about=None), "model",
    ),
    "an origin of text": (PROMOTE, json_file(f"{MODEL}/model.json", about="x"), "model"),
    "weights damaged": (
        PROMOTE, write(f"{MODEL}/model.safetensors", GARBAGE), "model.safetensors is damaged",
    ),
    "weights a pickle": (
        PROMOTE, write(f"{MODEL}/model.safetensors", pickle.dumps({"a": 1})),
        "model.safetensors is damaged",
    ),
    "vocabulary damaged": (
        PROMOTE, write(f"{MODEL}/vocabulary.json", GARBAGE), "vocabulary.json is damaged",
    ),
    "a vocabulary too short": (
        PROMOTE, json_file(f"{MODEL}/vocabulary.json", items=["i1"], counts=[1]), "80 items",
    ),
    "fingerprint damaged": (PROMOTE, write(f"{EVALUATION}/metrics.json", "{}"), "metrics.json"),
    "ranks damaged": (
        PROMOTE, both(item_knn,
                      write(f"{EVALUATION}/ranks.parquet", GARBAGE)), "ranks.parquet is damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_changes_nothing(project: Layout, run: Run, name: str) -> None:
    command, damage, *says = CASES[name]
    damage(project)
    before = contents(project)
    assert_one_line(run(project.root, *command.split()), *says)
    assert contents(project) == before


EMPTY: dict[str, Case] = {
    "no champion to compare with": ("compare workspace champion", nothing, "'champion'"),
    "no version to compare with": ("compare workspace 1", nothing, "no version 1", "known: none"),
    "nothing to roll back": ("rollback --reason x --yes", nothing, "served before this one"),
    "nothing to roll back to": ("rollback --to 1 --reason x --yes", nothing, "no version 1"),
    "no decision to explain": ("explain 1", nothing, "no decision 1", "none yet"),
    "no version to show": ("models show 1", nothing, "no version 1", "known: none"),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_registry_is_said_so(empty: Layout, run: Run, name: str) -> None:
    command, _, *says = EMPTY[name]
    before = without_versions_rows(empty)
    assert_one_line(run(empty.root, *command.split()), *says)
    assert without_versions_rows(empty) == before


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("history", "No decision has been taken yet."),
        ("verify", "everything is consistent"),
        ("models list", "version"),
        ("promote --dry-run", "WOULD BE PROMOTED"),
        ("compare workspace workspace", "Comparison of tiny"),
    ],
)
def test_an_empty_registry_is_no_error_to_look_at(
    empty: Layout, run: Run, command: str, says: str
) -> None:
    before = without_versions_rows(empty)
    said = run(empty.root, *command.split())
    assert (said.code, "Traceback" in said.err) == (0, False), said.err
    assert says in said.out
    assert without_versions_rows(empty) == before


def without_versions_rows(layout: Layout) -> dict[str, str]:
    """What is there, but for MLflow's own books of experiments: the first touch makes one."""
    found = contents(layout)
    rows = found.pop("rows").splitlines()
    books = ("INSERT INTO registered_models", "INSERT INTO model_versions", 'INSERT INTO "runs')
    kept = [row for row in rows if row.replace('"', "").startswith(books)]
    return {**found, "rows": "\n".join(kept)}


# --- registries


LOOKING = ["history", "verify", "explain 1", "models list", "models show 1", "compare 1 workspace"]
CHANGING = [PROMOTE, "promote --dry-run", "rollback --reason x --yes"]


@pytest.mark.parametrize("command", [*LOOKING, *CHANGING])
def test_a_registry_that_cannot_be_reached(
    project: Layout, run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:9")
    before = contents(project)
    said = run(project.root, *command.split())
    assert_one_line(said, "MLflow at http://127.0.0.1:9", "MLFLOW_TRACKING_URI")
    assert "s3cret" not in said.err + said.out
    assert contents(project) == before


@pytest.mark.parametrize("command", ["history", PROMOTE])
@pytest.mark.parametrize("database", [GARBAGE, b"SQLite format 3\x00" + bytes(4096)])
def test_a_registry_that_is_no_database(
    project: Layout, run: Run, command: str, database: bytes
) -> None:
    (project.root / "mlflow.db").write_bytes(database)
    before = contents(project)
    assert_one_line(run(project.root, *command.split()), "MLflow at sqlite:", "mlflow.db")
    assert contents(project) == before
    assert (project.root / "mlflow.db").read_bytes() == database


# --- versions and decisions that recctl did not make


def foreign(layout: Layout, folder: Path | None = None, **tags: str) -> int:
    """Register a version as another program would; its number."""
    registry = history.open_registry(layout)
    run_id = registry.decision_run("foreign")
    source = folder or layout.root / "theirs"
    source.mkdir(exist_ok=True)
    (source / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.pkl}}\n")
    (source / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    registry.log_files(run_id, source, "model")
    uri = registry.client.get_run(run_id).info.artifact_uri
    made = registry.client.create_model_version(
        registry.name, f"{uri}/model", run_id, tags=tags, await_creation_for=0
    )
    return int(made.version)


@pytest.mark.parametrize(
    "command", ["compare 2 1", "compare workspace 2", "rollback --to 2 --reason x --yes"]
)
def test_a_version_that_recctl_did_not_register(project: Layout, run: Run, command: str) -> None:
    assert foreign(project) == 2
    before = contents(project)
    said = run(project.root, *command.split())
    assert_one_line(said, "version 2 of 'tiny' was not registered by recctl", "recctl models list")
    assert contents(project) == before


def test_a_pickle_is_never_read_whatever_its_tags_say(project: Layout, run: Run) -> None:
    """The digests of all its files are right, and it is refused all the same."""
    theirs = project.root / "theirs"
    theirs.mkdir()
    ours = history.open_registry(project)
    shutil.copytree(ours.download(ours.version(1), project.root / "copy"), theirs / "x")
    files = {
        "MLmodel": b"flavors: {sklearn: {pickled_model: model.pkl}}\n",
        "model.pkl": pickle.dumps({"a": 1}),
    }
    for path in (theirs / "x").rglob("*"):
        if path.is_file():
            files[path.relative_to(theirs).as_posix()] = path.read_bytes()
    manifest = {name: hashlib.sha256(raw).hexdigest() for name, raw in files.items()}
    tags = {"recctl.content_digest": "a" * 64, "recctl.files": json.dumps(manifest)}
    assert foreign(project, theirs, **tags) == 2
    before = contents(project)
    for command in ("compare 2 1", "rollback --to 2 --reason x --yes"):
        assert_one_line(run(project.root, *command.split()), "version 2 is not sound", "MLmodel")
    assert contents(project) == before


def test_a_champion_that_recctl_did_not_register_stops_a_promotion(
    project: Layout, run: Run
) -> None:
    """Somebody set the alias on their own model."""
    registry = history.open_registry(project)
    registry.move_alias("champion", foreign(project))
    item_knn(project)
    before = contents(project)
    said = run(project.root, "promote", "--yes")
    assert_one_line(said, "points to version 2", "moved it by hand", "recctl rollback --to")
    assert contents(project) == before
    assert run(project.root, "verify").code == 2
    assert run(project.root, "rollback", "--to", "1", "--reason", "fixed", "--yes").code == 0
    assert history.open_registry(project).aliases()["champion"] == 1
    assert run(project.root, "verify").code == 0


def test_a_champion_without_a_log_is_not_replaced(empty: Layout, run: Run) -> None:
    """The name is in use by another program, with its own champion."""
    registry = history.open_registry(empty)
    registry.client.create_registered_model("tiny")
    registry.move_alias("champion", foreign(empty))
    before = contents(empty)
    assert_one_line(run(empty.root, "promote", "--yes"), "points to version 1", "by hand")
    assert contents(empty) == before


LOOKING_AT_DAMAGE = ["history", "verify", "verify --all", "explain 1", "explain 2", "models list"]


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"kind": "promotion"}',
        '{"kind": 1, "sets": 3, "saw": [], "verdict": {}, "previous": null}',
        '{"kind": "promotion", "policy": {"x": 1}, "evidence": {"run_id": 1, "files": {"a": 1}}}',
    ],
)
@pytest.mark.parametrize("written_upon", [False, True], ids=["last", "written upon"])
def test_a_decision_that_cannot_be_read_hides_nothing(
    project: Layout, run: Run, entry: str, written_upon: bool
) -> None:
    """Whatever is in the log, the commands that read it still answer."""
    if written_upon:
        tiny.train_markov(project, smoothing=1e9)
        run(project.root, "promote", "--yes")
    registry = history.open_registry(project)
    registry.client.set_model_version_tag(registry.log_name, "1", "recctl.entry", entry)
    before = contents(project)
    for command in LOOKING_AT_DAMAGE:
        said = run(project.root, *command.split())
        assert "Traceback" not in said.err, said.err
        assert said.code in (0, 2)
    assert run(project.root, "verify").code == 2
    assert contents(project) == before


def test_a_version_in_the_log_that_is_no_decision(project: Layout, run: Run) -> None:
    registry = history.open_registry(project)
    run_id = registry.decision_run("foreign")
    uri = registry.client.get_run(run_id).info.artifact_uri
    registry.client.create_model_version(registry.log_name, uri, run_id, await_creation_for=0)
    for command in LOOKING_AT_DAMAGE:
        said = run(project.root, *command.split())
        assert "Traceback" not in said.err, said.err
        assert said.code in (0, 2)


def test_a_log_that_was_deleted_stops_promotions_until_it_is_accepted(
    project: Layout, run: Run
) -> None:
    registry = history.open_registry(project)
    registry.client.delete_registered_model(registry.log_name)
    item_knn(project)
    before = contents(project)
    said = run(project.root, "promote", "--yes")
    assert_one_line(said, "log of 'tiny' is damaged", "decision 1 existed once", "--force")
    assert contents(project) == before
    keep = ["rollback", "--to", "1", "--reason", "keep it", "--yes"]
    said = run(project.root, *keep)
    assert (said.code, "version 1 never served" in said.err) == (2, True), said
    assert run(project.root, *keep, "--force").code == 0
    assert run(project.root, *PROMOTE.split()).code == 0
    assert history.open_registry(project).aliases()["champion"] == 2
    assert run(project.root, "verify", "--all").code == 0
    tiny.train_markov(project, smoothing=1e9)
    assert run(project.root, "promote", "--yes").code == 3


def test_a_registered_model_that_was_deleted_begins_again_by_force(
    project: Layout, run: Run
) -> None:
    item_knn(project)
    assert run(project.root, *PROMOTE.split()).code == 0
    registry = history.open_registry(project)
    registry.client.delete_registered_model(registry.name)
    before = contents(project)
    says = "no version can serve", "promote --force"
    for command in ("promote --yes", "rollback --reason x --yes"):
        said = run(project.root, *command.split())
        assert_one_line(said, *(says if command.startswith("promote") else []))
        assert contents(project) == before
    assert run(project.root, "verify").code == 2
    assert run(project.root, *PROMOTE.split()).code == 0
    assert history.open_registry(project).aliases() == {"champion": 1}
    assert run(project.root, "verify", "--all").code == 0


def test_without_a_project(tmp_path: Path, run: Run) -> None:
    for command in [*LOOKING, *CHANGING]:
        assert_one_line(run(tmp_path, *command.split()), "no recctl project")
    assert list(tmp_path.iterdir()) == []
