"""Programs of the tests that end processes at chosen moments, and what they found.

Such a program is called as `PROGRAM FOLDER JOB ...` and prints a line of JSON for each moment.
"""

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import databases

if TYPE_CHECKING:
    import pytest

TESTS = Path(__file__).parent
Line = dict[str, Any]
Found = dict[tuple[str, str], list[Line]]
"""A program's lines by scenario and way."""
Work = tuple[tuple[str, ...], ...]
"""Jobs `SCENARIO:WAY...`; one process does those of a tuple, the processes run at once."""

_FOUND: dict[tuple[str, Work], Found] = {}


def found(program: str, folders: "pytest.TempPathFactory", work: Work) -> Found:
    """What a program finds; the same work is done once."""
    if (program, work) not in _FOUND:
        _FOUND[program, work] = _run(program, folders, work)
    return _FOUND[program, work]


def _run(program: str, folders: "pytest.TempPathFactory", work: Work) -> Found:
    started = []
    for jobs in work:
        folder = folders.mktemp("program")
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            command = [sys.executable, program, str(folder), *jobs]
            process = subprocess.Popen(command, env=environment(), stdout=out, stderr=err)
        started.append((process, folder))
    lines: Found = {}
    for process, folder in started:
        assert process.wait() == 0, (folder / "err").read_text()[-3000:]
        for line in map(json.loads, (folder / "out").read_text().splitlines()):
            lines.setdefault((line["scenario"], line["way"]), []).append(line)
        shutil.rmtree(folder)
    return lines


def environment() -> dict[str, str]:
    """No server of the user's, this interpreter's commands first, the tests' modules."""
    foreign = ("MLFLOW_", "RECCTL_", "PREFECT")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    path = [str(Path(sys.executable).parent), ours["PATH"]]
    modules = [*map(str, (TESTS, TESTS / "promotion", TESTS / "retraining"))]
    modules += [ours["PYTHONPATH"]] if ours.get("PYTHONPATH") else []
    ours |= {"PATH": os.pathsep.join(path), "PYTHONPATH": os.pathsep.join(modules)}
    if databases.SHARED in os.environ:
        ours[databases.SHARED] = os.environ[databases.SHARED]
    return {**ours, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


# --- in the programs


def apart(work: Callable[[], Any]) -> tuple[int, Any]:
    """Run something in a forked process; its exit code (minus the signal), and its result."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            result = work()
            with os.fdopen(writing, "w") as pipe:
                json.dump(result, pipe)
            sys.stdout.flush()
            sys.stderr.flush()
            code = 0
        except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
            traceback.print_exc()
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(text) if text else None


def must(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked process; this one then imports what that one imported.

    So later ones need not: nothing is opened by an import, and it is safe to fork after it.
    """
    code, answer = apart(lambda: [work(), sorted(sys.modules)])
    assert code == 0, f"a step of the test itself ended with {code}"
    result, modules = answer
    for name in modules:
        if name not in _IMPORTED and not name.startswith("__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    _IMPORTED.update(modules)
    return result


_IMPORTED: set[str] = set()


def captured(command: Callable[[], int]) -> tuple[int, str, str]:
    """The exit code of a command that runs in a forked process, its output and its messages."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:

        def run() -> int:
            os.dup2(out.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            sys.stdout, sys.stderr = out, errors
            return command()

        try:
            code = must(run)
        except AssertionError as failed:
            errors.seek(0)
            raise AssertionError(f"{failed}: {errors.read()}") from None
        out.seek(0)
        errors.seek(0)
        return code, out.read(), errors.read()
