"""Importing does nothing, the command line stays light, nothing is unpickled."""

import ast
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import recctl

SOURCE = Path(recctl.__file__).parent
RECCTL = Path(sys.executable).with_name("recctl")
HEAVY = {
    "torch", "mlflow", "prefect", "great_expectations", "ibis", "duckdb", "pandas", "dvc",
    "sklearn", "scipy", "numpy", "matplotlib", "pyarrow", "pyspark", "pydantic", "rich", "requests",
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


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> str | None:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == name), None)


def unsafe(source: str) -> list[str]:
    """Calls that could run code hidden in a file."""
    found = []
    for function, call in calls(ast.parse(source)):
        module, _, name = function.rpartition(".")
        pickled = module.rpartition(".")[2] in {
            "pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal",
        }  # fmt: skip
        if pickled or name in {"read_pickle", "to_pickle", "Unpickler"}:
            found.append(function)
        if function == "torch.load" and keyword(call, "weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name == "load" and keyword(call, "allow_pickle") not in (None, "False"):
            found.append(f"{function} with allow_pickle")
        if function in ("np.load", "numpy.load") and keyword(call, "allow_pickle") != "False":
            found.append(f"{function} without allow_pickle=False")
    return found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("pickle.loads(x)", 1),
        ("torch.load(p)", 1),
        ("torch.load(p, weights_only=False)", 1),
        ("torch.load(p, weights_only=True)", 0),
        ("np.load(p)", 1),
        ("np.load(p, allow_pickle=False)", 0),
        ("frame.to_pickle(p)", 1),
        ("joblib.dump(m, p)", 1),
        ("json.loads(x)", 0),
    ],
)
def test_the_guard_itself(source: str, count: int) -> None:
    assert len(unsafe(source)) == count


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_nothing_is_unpickled(path: Path) -> None:
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_torch_saves_only_checkpoints(path: Path) -> None:
    """A model is kept as safetensors; torch's own format is for resuming only."""
    used = {
        name
        for name, _ in calls(ast.parse(path.read_text()))
        if name in {"torch.save", "torch.load"}
    }
    assert not used or path == SOURCE / "training" / "checkpoint.py"


def test_layers() -> None:
    """The contracts in pyproject.toml: imports point one way, heavy libraries have one home."""
    root = SOURCE.parents[1]
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
