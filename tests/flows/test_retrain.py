import runpy
from pathlib import Path

import pytest

from recctl import pipeline
from recctl.errors import UserError
from recctl.layout import Layout

FLOW = Path(__file__).parents[2] / "flows" / "retrain.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").touch()
    return tmp_path


def run(project: Path) -> None:
    """The flow's function itself: no server is needed to see what it calls."""
    runpy.run_path(str(FLOW))["retrain"].fn(project)


def test_the_flow_runs_the_pipeline_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Layout] = []
    monkeypatch.setattr(pipeline, "repro", lambda layout, on_line: seen.append(layout))
    run(project)
    assert seen == [Layout(project.resolve())]


def test_a_failed_pipeline_fails_the_flow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(layout: Layout, on_line: object) -> None:
        raise UserError("dvc repro ended with exit code 255", "see its lines")

    monkeypatch.setattr(pipeline, "repro", fail)
    with pytest.raises(UserError, match="255"):
        run(project)
