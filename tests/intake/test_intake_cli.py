"""`recctl intake` as people call it."""

import json
import subprocess
import sys
from pathlib import Path

import intake_cases as cases
import pytest
from intake_cases import copied, drop, text

from recctl import lock
from recctl.layout import Layout

RECCTL = str(Path(sys.executable).with_name("recctl"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    folder = tmp_path_factory.mktemp("cli")
    return copied(cases.template(folder / "template"), folder / "project")


def intake(layout: Layout, *options: str) -> subprocess.CompletedProcess[str]:
    command = [RECCTL, "intake", *options]
    return subprocess.run(command, cwd=layout.root, capture_output=True, text=True)


def test_what_was_taken_is_shown_and_what_was_not(project: Layout) -> None:
    drop(project, "day.csv", text([("u7", "i7", 7), ("u7", "", 8)]))
    drop(project, "odd.csv", "hello\n")
    shown = intake(project)
    assert shown.returncode == 0, shown.stderr
    assert "day.csv" in shown.stdout
    assert "refused: odd.csv: odd.csv has no column 'user_id'" in shown.stdout
    assert "1 new interactions; data/ is now version " in shown.stdout
    again = intake(project, "--json")
    result = json.loads(again.stdout)
    assert (result["new"], result["changed"], result["batches"]) == (0, False, [])


def test_a_project_that_is_retrained_is_left_alone(project: Layout) -> None:
    with lock.held(project, "the test"):
        done = intake(project)
    assert done.returncode == 2
    assert "the test" in done.stderr
