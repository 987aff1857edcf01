"""DVC started for data/ does not go on alone when whoever started it is killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lives import lives
from recctl.data import versions
from recctl.layout import Layout

LONG = 'open("pid", "w").write(str(__import__("os").getpid())); __import__("time").sleep(600)\n'
START = "import sys; from pathlib import Path; from recctl.data import versions; "
START += "from recctl.layout import Layout; versions.take(Layout(Path(sys.argv[1])))"


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_parent_leaves_no_dvc(tmp_path: Path) -> None:
    (tmp_path / "dvc.py").write_text(LONG)  # what 'python -m dvc' finds first
    parent = subprocess.Popen([sys.executable, "-c", START, str(tmp_path)])
    try:
        pid = tmp_path / "pid"
        until(lambda: pid.exists() and pid.read_text() != "")
        child = int(pid.read_text())
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not lives(child))


def test_what_dvc_prints_and_how_it_ends_come_back(tmp_path: Path) -> None:
    (tmp_path / "dvc.py").write_text("import sys; print('{}'); sys.exit(sys.argv[1] != 'status')\n")
    (tmp_path / ".dvc").mkdir()
    assert versions.unchanged(Layout(tmp_path))
