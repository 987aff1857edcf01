"""A `forget` killed at every step: the next command finishes it, and nothing is done twice."""

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forget_cases import ID, make, names_of

from programs import apart
from recctl import lock
from recctl.forget import forget as core
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.verify import verify
from recctl.retraining.run import Hooks, collect

pytestmark = pytest.mark.usefixtures("quick_decisions", "quick_dvc", "quick_stages")

EVENTS = {"os.rename", "os.remove", "os.mkdir"}
CALLS = ("append", "log_files", "decision_run", "mark", "move_alias", "drop_alias")


def forget(layout: Layout) -> None:
    options: dict[str, Any] = {"reason": "asked", "remote": False, "dry_run": False}
    with lock.held(layout, "a test"):
        core.forget(layout, [ID], say=lambda line: None, **options)


def killed(layout: Layout, at: int) -> tuple[int, int]:
    """Forget in a process that is killed before its step `at`; its exit code, the steps taken."""
    counter = layout.root / "steps"

    def work() -> None:
        us, steps = os.getpid(), itertools.count(1)

        def step() -> None:
            if os.getpid() == us and (number := next(steps)) >= at:
                os.kill(us, signal.SIGKILL)
            elif os.getpid() == us:
                os.truncate(counter, number)

        def event(name: str, arguments: tuple[Any, ...]) -> None:
            if name in EVENTS and str(arguments[0]).startswith(str(layout.root)):
                step()

        def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
            def stepping(*given: Any, **more: Any) -> Any:
                step()
                result = call(*given, **more)
                step()
                return result

            return stepping

        for name in CALLS:
            setattr(Registry, name, wrapped(getattr(Registry, name)))
        sys.addaudithook(event)
        forget(layout)

    counter.touch()
    code, _ = apart(work)
    return code, counter.stat().st_size


def finished(layout: Layout, at: int) -> bool:
    """The next intake finishes it; whether there was something to finish."""
    where = f"killed before step {at}"
    left = core.is_left(layout)
    if left:
        modes = [path.stat().st_mode & 0o777 for path in layout.state.glob("*forget.json*")]
        assert set(modes) == {0o600}
    with lock.held(layout, "a test") as held:
        collect(layout, held, Hooks(say=lambda line: None))
    if (
        layout.state / "backfill" / "some"
    ).exists():  # it was killed before it wrote down what to do
        forget(layout)
    assert not core.is_left(layout), where
    assert names_of(layout.root) == [], where
    assert [path.name for path in layout.data.rglob(".*")] == [], where
    registry = history.open_registry(layout)
    checks = verify(registry, layout, everything=True)
    assert [f"{one.name}: {one.detail}" for one in checks if not one.ok] == [], where
    kinds = [entry.content["kind"] for entry in registry.entries()]
    assert kinds == ["promotion", "forget"], where
    return left


def each(folder: Path, first: int, every: int) -> list[bool]:
    project = make(folder / "project")
    whole = make(folder / "whole")
    code, steps = killed(whole, sys.maxsize)
    assert (code, names_of(whole.root)) == (0, [])
    ends = []
    for at in range(first, steps + 1, every):
        layout = Layout(folder / f"copy-{at}")  # MLflow keeps the files of a database open
        shutil.copytree(project.root, layout.root, symlinks=True)
        assert killed(layout, at)[0] == -signal.SIGKILL
        ends.append(finished(layout, at))
        shutil.rmtree(layout.root)
    print(f"killed at {len(ends)} of {steps} steps")
    return ends


@pytest.mark.slow
def test_killed_at_some_of_its_steps(tmp_path: Path) -> None:
    ends = each(tmp_path, first=9, every=40)
    assert any(ends)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_killed_at_every_step(tmp_path: Path) -> None:
    ends = each(tmp_path, first=1, every=1)
    assert {True, False} == set(ends)
