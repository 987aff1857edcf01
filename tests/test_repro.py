"""`dvc repro` is run for real, on a pipeline of one shell command."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lives import lives, wait_for
from recctl import pipeline
from recctl.errors import UserError
from recctl.layout import Layout


def project(folder: Path, command: str) -> Layout:
    (folder / "params.yaml").write_text("{}\n")
    (folder / "dvc.yaml").write_text(f"stages:\n  only:\n    cmd: {command}\n    outs: [made]\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    return Layout(folder)


def test_lines_are_handed_on_and_the_stage_has_run(tmp_path: Path) -> None:
    seen: list[str] = []
    pipeline.repro(project(tmp_path, "echo from the stage; echo 1 > made"), seen.append)
    assert "from the stage" in seen
    assert (tmp_path / "made").read_text() == "1\n"
    pipeline.repro(Layout(tmp_path), seen.append)
    assert seen[-1] == "Data and pipelines are up to date."


def test_a_failing_stage_is_an_error_with_its_reason_among_the_lines(tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.raises(UserError, match="dvc repro ended with exit code"):
        pipeline.repro(project(tmp_path, "echo the reason; exit 3"), seen.append)
    assert "the reason" in seen


def test_an_interrupt_stops_the_stage_too(tmp_path: Path) -> None:
    layout = project(tmp_path, "echo $$ > pid; echo started; sleep 600; echo 1 > made")

    def interrupt(line: str) -> None:
        if line == "started":
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pipeline.repro(layout, interrupt)
    assert time.monotonic() - began < 60
    pid = int((tmp_path / "pid").read_text())
    wait_for("the end of the stage", lambda: not lives(pid))
