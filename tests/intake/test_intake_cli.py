"""`recctl intake` as people call it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from intake_cases import copied, drop, text

from recctl import lock
from recctl.layout import Layout

RECCTL = str(Path(sys.executable).with_name("recctl"))


@pytest.fixture(scope="module")
def held(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return copied(template, tmp_path_factory.mktemp("cli") / "project")


def intake(layout: Layout, *options: str) -> subprocess.CompletedProcess[str]:
    command = [RECCTL, "intake", *options]
    return subprocess.run(command, cwd=layout.root, capture_output=True, text=True)


def test_what_was_taken_is_shown_and_what_was_not(held: Layout) -> None:
    drop(held, "day.csv", text([("u7", "i7", 7), ("u7", "", 8)]))
    drop(held, "odd.csv", "hello\n")
    shown = intake(held)
    assert shown.returncode == 0, shown.stderr
    assert "day.csv" in shown.stdout
    assert "refused: odd.csv: odd.csv has no column 'user_id'" in shown.stdout
    assert "1 new interactions; data/ is now version " in shown.stdout
    again = intake(held, "--json")
    result = json.loads(again.stdout)
    assert (result["new"], result["changed"], result["batches"]) == (0, False, [])


def test_a_project_that_is_retrained_is_left_alone(held: Layout) -> None:
    with lock.held(held, "the test"):
        done = intake(held)
    assert done.returncode == 2
    assert "the test" in done.stderr
