"""A project with the real prefect.yaml, and flows that take a second in place of the real ones."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]

RETRAIN = '''
import time
from pathlib import Path

from prefect import flow

from recctl import pipeline
from recctl.layout import Layout


@flow(name="retrain", log_prints=True)
def retrain(project: Path | None = None, stage: str | None = None) -> None:
    """Take a second, or run a stage."""
    layout = Layout.find(project)
    with (layout.root / "turns.txt").open("a") as turns:
        turns.write(f"begin {time.time()}\\n")
    if stage:
        pipeline.stage(layout, stage, print)
    time.sleep(1)
    with (layout.root / "turns.txt").open("a") as turns:
        turns.write(f"end {time.time()}\\n")
'''

TRIVIAL = '''
from prefect import flow


@flow(name="{name}")
def {function}() -> None:
    """Do nothing."""
'''

DVC = """
stages:
  slow:
    cmd: python -c "import os, time; open('pid.txt', 'w').write(str(os.getpid())); time.sleep(600)"
    always_changed: true
"""

OFTEN = """
  - name: often
    entrypoint: flows/tick.py:tick
    work_pool: *pool
    schedules:
      - interval: 15
"""
"""One more deployment, for a schedule that a test can wait for."""


def make(root: Path, *, often: bool = False) -> Path:
    """The project's files; no git, no data, no model."""
    (root / "flows").mkdir(parents=True)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (root / "dvc.yaml").write_text(DVC)
    shutil.copy(ROOT / "params.yaml", root)
    deployments = (ROOT / "prefect.yaml").read_text(encoding="utf-8")
    (root / "prefect.yaml").write_text(deployments + (OFTEN if often else ""), encoding="utf-8")
    shutil.copy(ROOT / "flows" / "worker.py", root / "flows")
    (root / "flows" / "retrain.py").write_text(RETRAIN)
    names = {"evaluate-champion": "evaluate_champion", "backfill": "backfill", "tick": "tick"}
    for name, function in names.items():
        text = TRIVIAL.format(name=name, function=function)
        (root / "flows" / f"{function}.py").write_text(text)
    return root
