"""DVC started for data/ does not go on alone when whoever started it is killed."""

import subprocess
import sys
from pathlib import Path

from lives import lives, wait_for
from recctl.data import versions
from recctl.layout import Layout

LONG = 'open("pid", "w").write(str(__import__("os").getpid())); __import__("time").sleep(600)\n'
START = "import sys; from pathlib import Path; from recctl.data import versions; "
START += "from recctl.layout import Layout; versions.take(Layout(Path(sys.argv[1])))"


def test_a_killed_parent_leaves_no_dvc(tmp_path: Path) -> None:
    (tmp_path / "dvc.py").write_text(LONG)  # what 'python -m dvc' finds first
    parent = subprocess.Popen([sys.executable, "-c", START, str(tmp_path)])
    try:
        pid = tmp_path / "pid"
        wait_for("DVC", lambda: pid.exists() and pid.read_text() != "")
        child = int(pid.read_text())
    finally:
        parent.kill()
        parent.wait()
    wait_for("its end", lambda: not lives(child))


def test_what_dvc_prints_and_how_it_ends_come_back(tmp_path: Path) -> None:
    (tmp_path / "dvc.py").write_text("import sys; print('{}'); sys.exit(sys.argv[1] != 'status')\n")
    (tmp_path / ".dvc").mkdir()
    assert versions.unchanged(Layout(tmp_path))
