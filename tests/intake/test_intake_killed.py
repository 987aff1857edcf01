"""An intake killed at every step: the next one completes it, every interaction exactly once."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import intake_cases as cases
import pytest
from intake_cases import BASE, copied, drop, dvc, ingested, names, take, text

from recctl.data import batches
from recctl.layout import Layout

DAYS = {
    "day1.csv": [("u1", "i1", 10), ("u2", "i2", 11), ("u9", "", 11)],
    "day2.csv": [("u2", "i2", 11), ("u3", "i1", 12)],
    "day3.csv": [("u2", "i2", 11)],
    "notes.csv": [],
}
NEW = [("u1", "i1", 10), ("u2", "i2", 11), ("u3", "i1", 12)]


@pytest.fixture(scope="module")
def loaded(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two files that hold something new, one that does not, and one of no use."""
    layout = copied(template, tmp_path_factory.mktemp("loaded") / "project")
    for name, rows in DAYS.items():
        drop(layout, name, text(rows) if rows else "hello\n")
    return layout.root


def intake(root: Path, *moment: str) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).with_name("intake_deaths.py")
    command = [sys.executable, str(program), str(root), *moment]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


@dataclass(frozen=True)
class Whole:
    """An intake that is left alone: its moments, and the version of data/ that it makes."""

    moments: list[str]
    version: str


@pytest.fixture(scope="module")
def whole(loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    layout = copied(loaded, tmp_path_factory.mktemp("whole") / "project")
    done = intake(layout.root)
    assert done.returncode == 0, done.stderr
    found = Whole(done.stdout.splitlines(), (layout.root / "data.dvc").read_text())
    judge(layout, found)
    assert dvc(layout.root, "status", "--json", "data.dvc").strip() == "{}"
    return found


def judge(layout: Layout, whole: Whole) -> None:
    """Every interaction once, every file in its place, and the version as if nothing had been."""
    assert cases.stored(layout) == [(user, item, time * 10**6) for user, item, time in NEW]
    assert (layout.root / "data.dvc").read_text() == whole.version
    assert [batch.name for batch in batches.held(layout.data)] == ["day1.csv", "day2.csv"]
    good, aside = ingested(layout)
    assert good == sorted(BASE + NEW)
    assert aside == [("no-item", "u9")]
    incoming = layout.root / "incoming"
    assert names(incoming) == ["refused", "taken"]
    assert names(incoming / "taken") == ["day1.csv", "day2.csv", "day3.csv"]
    assert names(incoming / "refused") == ["notes.csv", "notes.csv.txt"]
    assert names(layout.state / "intake" / "work") == []


def killed_at(loaded: Path, folder: Path, whole: Whole, moment: int) -> None:
    layout = copied(loaded, folder / f"killed-{moment}")
    done = intake(layout.root, str(moment))
    assert done.returncode == -9, f"moment {moment}: {done.stdout} {done.stderr}"
    take(layout)
    judge(layout, whole)


@pytest.mark.parametrize(
    "step", ["second batch in its place", "before dvc add", "first file put away"]
)
def test_killed_where_it_matters_most(
    loaded: Path, whole: Whole, tmp_path: Path, step: str
) -> None:
    renames = [n for n, what in enumerate(whole.moments, 1) if "batch.parquet" in what]
    commands = [n for n, what in enumerate(whole.moments, 1) if "Popen" in what]
    away = [n for n, what in enumerate(whole.moments, 1) if "incoming/day1.csv" in what]
    moments = {
        "second batch in its place": renames[-1] + 1,
        "before dvc add": commands[-1],
        "first file put away": away[-1] + 1,
    }
    killed_at(loaded, tmp_path, whole, moments[step])


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_at_every_step(loaded: Path, whole: Whole, tmp_path: Path) -> None:
    print(f"{len(whole.moments)} moments:", *whole.moments, sep="\n  ")
    with ThreadPoolExecutor(2) as pool:
        numbers = range(1, len(whole.moments) + 1)
        list(pool.map(lambda number: killed_at(loaded, tmp_path, whole, number), numbers))
