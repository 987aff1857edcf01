"""The stage from files to files: what is written, what is printed, how it ends."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import forked_dvc
from recctl.errors import UserError
from recctl.files import write_json
from recctl.layout import Layout
from recctl.stages import validate

PARAMS = """\
validate:
  users: {minimum: 3}
  items: {minimum: 3}
  interactions: {minimum: 9}
  short_history: 2
"""
USERS, ITEMS = ["u1", "u2", "u3"], ["a", "b", "c"]


def interactions(users=USERS, items=ITEMS, weight=1.0) -> pa.Table:
    """Every user with every item, a day apart."""
    pairs = [(user, item) for user in users for item in items]
    days = [86_400_000_000 * (1 + i % len(items)) for i in range(len(pairs))]
    return pa.table(
        {
            "user_id": [user for user, _ in pairs],
            "item_id": [item for _, item in pairs],
            "timestamp": pa.array(days, pa.timestamp("us", "UTC")),
            "weight": [weight] * len(pairs),
            "row": pa.array(range(len(pairs)), pa.int64()),
        }
    )


def ingested(root: Path, table: pa.Table, name: str = "films") -> None:
    """The files that ingest writes, as far as validate reads them."""
    folder = root / "artifacts" / "interactions"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "interactions.parquet")
    pq.write_table(pa.table({"cause": pa.array([], pa.string())}), folder / "quarantine.parquet")
    write_json(folder / "report.json", {"name": name})


@pytest.fixture
def project(tmp_path) -> Layout:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text(PARAMS)
    ingested(tmp_path, interactions())
    return Layout(tmp_path)


def report(project: Layout) -> dict[str, dict]:
    rules = json.loads((project.validation / "report.json").read_text())["rules"]
    return {rule["rule"]: rule for rule in rules}


def metrics(project: Layout) -> dict[str, float]:
    return json.loads((project.validation / "metrics.json").read_text())


def test_good_data_pass_and_everything_is_written(project, capsys):
    validate.run(project)
    assert metrics(project) == {
        "rules_checked": 13,
        "failed_critical": 0,
        "failed_warning": 0,
        "users": 3,
        "items": 3,
        "interactions": 9,
        "short_history_share": 0.0,
        "quarantine_share": 0.0,
    }
    assert report(project)["user-count"]["observed"] == 3
    assert report(project)["volume-drift"]["verdict"] == "not checked"
    assert (project.validation / "profiles" / "current.parquet").exists()
    printed = capsys.readouterr().out
    assert "interactions-unique" in printed
    assert "Not checked: no previous version." in printed


def test_data_docs_list_their_pages_and_load_nothing(project):
    validate.run(project)
    docs = project.validation / "data_docs"
    index = (docs / "index.html").read_text()
    found = {page.relative_to(docs).as_posix(): page for page in docs.rglob("*.html")}
    assert all("content=\"default-src 'none'" in page.read_text() for page in found.values())
    pages = [name for name in found if name.startswith("validations/")]
    assert len(pages) == 6  # schema, interactions, duplicates, users, items, quarantine
    for page in pages:
        assert f'<a href="{page}">' in index
    assert str(project.root) not in index


def test_a_critical_failure_stops_in_one_line_and_leaves_the_report(project, capsys):
    ingested(project.root, interactions(users=USERS[:2], weight=float("nan")))
    with pytest.raises(UserError) as caught:
        validate.run(project)
    assert str(caught.value) == (
        "validation failed: 3 of 13 expectations: weights-present, user-count, interaction-count; "
        "fix the data or the thresholds under 'validate' in params.yaml"
    )
    assert report(project)["weights-present"]["observed"] == 6
    assert len(report(project)["weights-present"]["samples"]) == 5
    assert metrics(project)["failed_critical"] == 3
    assert (project.validation / "data_docs" / "index.html").exists()
    assert "(missing)" in capsys.readouterr().out


def test_a_warning_is_reported_and_does_not_stop(project, capsys):
    project.params.write_text(PARAMS + "  severity: {user-count: warning}\n")
    ingested(project.root, interactions(users=USERS[:2], items=["a", "b", "c", "d", "e"]))
    validate.run(project)
    assert report(project)["user-count"]["verdict"] == "failed"
    assert metrics(project)["failed_warning"] == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "user-count warning 2 users at least 3 warning" in lines


def test_an_ignored_rule_is_not_checked(project):
    project.params.write_text(
        PARAMS + "  severity: {user-count: ignore, interaction-count: ignore}\n"
    )
    ingested(project.root, interactions(users=USERS[:2]))
    validate.run(project)
    assert "user-count" not in report(project)


def test_a_second_version_is_compared_with_the_first_however_often_it_is_validated(project):
    validate.run(project)
    ingested(project.root, interactions(items=["a", "b", "c", "d"]))
    for _ in range(2):
        validate.run(project)
        assert metrics(project)["volume_ratio"] == pytest.approx(12 / 9)
        # p = 1/3 each of a, b, c; q = 1/4 each of a, b, c, d.
        assert 0 < metrics(project)["popularity_divergence"] < 0.2


def test_a_version_that_failed_is_not_what_the_next_is_compared_with(project):
    validate.run(project)
    ingested(project.root, interactions(users=[f"u{i}" for i in range(40)]))
    with pytest.raises(UserError, match="1 of 17 expectations: volume-break"):
        validate.run(project)
    ingested(project.root, interactions(users=[*USERS, "u4"]))
    validate.run(project)
    assert metrics(project)["volume_ratio"] == pytest.approx(12 / 9)


def test_another_data_set_is_a_first_version(project):
    validate.run(project)
    ingested(project.root, interactions(items=["x", "y", "z"]), name="books")
    validate.run(project)
    assert report(project)["popularity-break"]["note"] == (
        "no previous version of 'books' (the one before is 'films')"
    )


def test_validating_the_same_data_again_says_the_same(project):
    validate.run(project)
    first = [(project.validation / name).read_bytes() for name in ("report.json", "metrics.json")]
    validate.run(project)
    assert first == [
        (project.validation / name).read_bytes() for name in ("report.json", "metrics.json")
    ]


def test_missing_input_names_the_stage_to_run(project):
    shutil.rmtree(project.interactions)
    with pytest.raises(UserError, match=r"no .*interactions.parquet; .*'dvc repro ingest'"):
        validate.run(project)


def recctl() -> str:
    return str(Path(sys.executable).with_name("recctl"))


def test_the_command_ends_with_exit_code_2_and_one_line(project):
    ingested(project.root, interactions(users=USERS[:2]))
    done = subprocess.run(
        [recctl(), "stage", "validate"], cwd=project.root, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        "recctl: validation failed: 2 of 13 expectations: user-count, interaction-count; "
        "fix the data or the thresholds under 'validate' in params.yaml\n"
    )


@pytest.mark.slow
def test_under_dvc_the_profiles_outlive_a_run_and_a_failure(project):
    stage = f"""\
stages:
  validate:
    cmd: {recctl()} stage validate
    deps: [artifacts/interactions]
    params: [validate]
    outs:
      - artifacts/validation/report.json
      - artifacts/validation/metrics.json
      - artifacts/validation/data_docs
      - artifacts/validation/profiles:
          persist: true
"""
    (project.root / "dvc.yaml").write_text(stage)
    assert dvc(project, "init", "--no-scm") == 0
    assert dvc(project, "repro") == 0
    ingested(project.root, interactions(users=[f"u{i}" for i in range(40)]))
    assert dvc(project, "repro") != 0
    assert report(project)["volume-break"]["verdict"] == "failed"
    ingested(project.root, interactions(users=[*USERS, "u4"]))
    assert dvc(project, "repro") == 0
    assert metrics(project)["volume_ratio"] == pytest.approx(12 / 9)


def dvc(project: Layout, *arguments: str) -> int:
    return forked_dvc.ask(project, *arguments).code
