"""`recctl monitor`: what people and programs get."""

import json
from pathlib import Path

import monitoring_cases as cases
import pytest
import tiny_project as tiny
from typer.testing import CliRunner

from recctl.cli.app import app
from recctl.errors import UserError
from recctl.layout import Layout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A champion that fell."""
    layout = tiny.make(tmp_path_factory.mktemp("cli") / "project")
    cases.promoted(layout)
    later = tiny.log(days=2, seed=9)
    later["timestamp"] += 20 * tiny.DAY
    later["item_id"] = "unheard-of"
    cases.write(layout, cases.pd.concat([tiny.log(), later], ignore_index=True))
    return layout


@pytest.fixture(autouse=True)
def _inside(monkeypatch: pytest.MonkeyPatch, project: Layout) -> None:
    monkeypatch.chdir(project.root)


def test_people_get_a_table_and_a_sentence_and_no_failure() -> None:
    done = CliRunner().invoke(app, ["monitor"])
    assert done.exit_code == 0
    assert "400" in done.stdout
    assert "100.0%" in done.stdout
    assert "last 3 days" in done.stdout
    assert "Fallen: NDCG@10 of version 1 is .0000 (at most ." in done.stdout
    assert "on 800 events" in done.stdout
    assert "recctl: version 1: 800 events in 3 days" in done.stderr


def test_programs_get_json_alone() -> None:
    done = CliRunner().invoke(app, ["monitor", "--json"])
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert content["verdict"] == "fallen"
    assert content["window"]["cold"] == content["window"]["events"] == 800
    assert content == json.loads(Path("artifacts/monitoring/report.json").read_text())


def test_a_project_without_a_champion_is_an_error(
    monkeypatch: pytest.MonkeyPatch, project: Layout
) -> None:
    tiny.set_params(project.root, promotion={**tiny.POLICY, "registered_model": "another"})
    done = CliRunner().invoke(app, ["monitor"])
    tiny.set_params(project.root, promotion=tiny.POLICY)
    assert isinstance(done.exception, UserError)
    assert "no champion of 'another' serves" in str(done.exception)
