"""The worker of `recctl up` runs what prefect.yaml says, and nothing that was made elsewhere."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import worker
from ruamel.yaml import YAML

from recctl.layout import Layout

ROOT = Path(__file__).parents[2]

PULL = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text())["pull"]
SHELL = [{"prefect.deployments.steps.run_shell_script": {"script": "touch owned"}}]
NIGHTLY: dict[str, Any] = {
    "entrypoint": "flows/retrain.py:retrain",
    "pull_steps": PULL,
    "job_variables": {},
}


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.processes, "listens", lambda layout, name: True)


def asked(
    deployment: dict[str, Any] | None,
    variables: dict[str, Any] | None = None,
    root: Path = ROOT,
    **parameters: str,
) -> None:
    run = SimpleNamespace(job_variables=variables, parameters=parameters)
    known = None if deployment is None else SimpleNamespace(model_dump=lambda: deployment)
    worker.require_ours(Layout(root), run, known)


def test_a_deployment_of_prefect_yaml_runs() -> None:
    asked(NIGHTLY)
    asked(NIGHTLY | {"job_variables": None}, {}, project=str(ROOT))
    asked(NIGHTLY | {"entrypoint": "flows/backfill.py:backfill"})


@pytest.mark.parametrize(
    "other",
    [
        {"pull_steps": SHELL},
        {"pull_steps": [*PULL, *SHELL]},
        {"pull_steps": None},
        {"entrypoint": "/tmp/evil.py:flow"},
        {"entrypoint": "evil"},
        {"job_variables": {"command": "touch owned"}},
        {"job_variables": {"env": {"LD_PRELOAD": "/tmp/evil.so"}}},
    ],
    ids=str,
)
def test_a_deployment_that_executes_anything_else_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(worker.Refused, match="not those of a deployment in"):
        asked(NIGHTLY | other)


def test_a_run_of_no_deployment_or_with_other_settings_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(worker.Refused, match="not those of a deployment in"):
        asked(None)
    with pytest.raises(worker.Refused, match="run itself has job variables"):
        asked(NIGHTLY, {"command": "touch owned"})
    with pytest.raises(worker.Refused, match="names another folder"):
        asked(NIGHTLY, project="/tmp/evil")
    monkeypatch.setattr(worker.processes, "listens", lambda layout, name: False)
    with pytest.raises(worker.Refused, match="not the one that"):
        asked(NIGHTLY)


def test_what_a_user_wrote_into_prefect_yaml_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADS", "4")
    (tmp_path / "prefect.yaml").write_text(
        "deployments:\n"
        "  - entrypoint: flows/mine.py:mine\n"
        '    pull: [{a.step: {x: "{{ kept }}"}}]\n'
        '    work_pool: {name: recctl, job_variables: {env: {OMP_NUM_THREADS: "{{ $THREADS }}"}}}\n'
    )
    mine = {
        "entrypoint": "flows/mine.py:mine",
        "pull_steps": [{"a.step": {"x": "{{ kept }}"}}],
        "job_variables": {"env": {"OMP_NUM_THREADS": "4"}},
    }
    asked(mine, root=tmp_path)
    with pytest.raises(worker.Refused, match="not those of a deployment in"):
        asked(NIGHTLY, root=tmp_path)
