"""Importing does nothing, the command line stays light, nothing is unpickled."""

import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recctl

SOURCE = Path(recctl.__file__).parent
RECCTL = Path(sys.executable).with_name("recctl")
HEAVY = {
    "torch", "mlflow", "prefect", "great_expectations", "ibis", "duckdb", "pandas", "dvc",
    "sklearn", "scipy", "numpy", "matplotlib", "pyarrow", "pyspark", "pydantic", "rich", "requests",
    "optuna",
}  # fmt: skip
"""What `recctl --help` must do without."""

MODULES = sorted(module.name for module in pkgutil.walk_packages(recctl.__path__, prefix="recctl."))


def python(script: str, cwd: Path) -> str:
    """What a Python without network prints, its home and current folder being `cwd`."""
    guard = """
import socket
def refuse(*arguments, **more):
    raise AssertionError(f"network at import: {arguments}")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
"""
    environment = {"HOME": str(cwd), "TMPDIR": str(cwd), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", guard + script],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_every_module_leaves_no_file_and_asks_no_network(tmp_path: Path) -> None:
    assert len(MODULES) > 30
    out = python(
        f"import importlib\nfor name in {MODULES!r}: importlib.import_module(name)", tmp_path
    )
    assert out == ""
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == []


@pytest.mark.parametrize("module", ["recctl.cli", "recctl.cli.app"])
def test_the_command_line_imports_nothing_heavy(tmp_path: Path, module: str) -> None:
    script = f"import json, sys, {module}\nprint(json.dumps(sorted(sys.modules)))"
    loaded = {name.partition(".")[0] for name in json.loads(python(script, tmp_path))}
    assert loaded & HEAVY == set()


def test_help_answers_at_once() -> None:
    """In seconds of a processor, which load does not stretch; `make bench` has the others."""
    times = []
    for _ in range(5):
        before = os.times()
        subprocess.run([RECCTL, "--help"], check=True, capture_output=True)
        after = os.times()
        user, system = after.children_user, after.children_system
        times.append(user - before.children_user + system - before.children_system)
    assert min(times) < 0.2


def test_imports_are_not_searched_for_garbage(tmp_path: Path) -> None:
    script = "import gc, sys\nfrom recctl import cli\nsys.argv = ['recctl', '--version']\ntry:\n"
    script += "    cli.main()\nexcept SystemExit:\n    print(gc.get_threshold()[0])"
    assert int(python(script, tmp_path).split()[-1]) >= 50_000


BANNED = [
    *[f"import {one}" for one in ("pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal")],
    "import pandas; pandas.read_pickle(p)",
    "import torch; torch.load(p)",
    "import torch; torch.load(p, weights_only=True)",
    "from torch import save; save(x, p)",
]


def test_ruff_refuses_what_reads_or_writes_a_pickle() -> None:
    """A model is safetensors; torch's own format is for checkpoints only."""
    ruff = [Path(sys.executable).with_name("ruff"), "check", "--output-format=concise"]
    done = subprocess.run(
        [*ruff, "--select=TID251", "--stdin-filename=src/recctl/new.py", "-"],
        cwd=SOURCE.parents[1], input="\n".join(BANNED), capture_output=True, text=True, check=False,
    )  # fmt: skip
    refused = {line.split(":")[1] for line in done.stdout.splitlines() if " TID251 " in line}
    assert refused == {str(number) for number in range(1, len(BANNED) + 1)}, done.stdout


def test_no_call_allows_pickles() -> None:
    """What ruff does not see: a method of any object, an argument."""
    unsafe = re.compile(r"\bto_pickle\b|allow_pickle=(?!False)|weights_only=(?!True)")
    found = [path for path in SOURCE.rglob("*.py") if unsafe.search(path.read_text("utf-8"))]
    assert found == []


def test_layers() -> None:
    """The contracts in pyproject.toml: imports point one way, heavy libraries have one home."""
    root = SOURCE.parents[1]
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
