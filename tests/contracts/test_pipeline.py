"""dvc.yaml, params.yaml, the stage modules and the imports agree."""

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from recctl.cli import stage as stage_commands
from recctl.config import SECTIONS, STAGES
from recctl.errors import UserError
from recctl.sections import sections

ROOT = Path(__file__).parents[2]


@cache
def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))
    return content


@cache
def imports() -> grimp.ImportGraph:
    """The import graph of the source, imports inside functions included."""
    return grimp.build_graph("recctl", exclude_type_checking_imports=True, cache_dir=None)


def module_of(stage: str) -> str:
    return f"recctl.stages.{stage.replace('-', '_')}"


def path_of(module: str) -> str:
    base = Path("src", *module.split("."))
    return str(base / "__init__.py" if (ROOT / base).is_dir() else base.with_suffix(".py"))


def needed(module: str) -> set[str]:
    """Source files that run when the module does: what it imports, and what that imports.

    Python runs the __init__ of every package on the way; it counts when it imports something.
    """
    found: set[str] = set()
    waiting = {module}
    while waiting:
        one = waiting.pop()
        found.add(one)
        parts = one.split(".")
        parents = {".".join(parts[:n]) for n in range(1, len(parts))}
        busy = {parent for parent in parents if imports().find_modules_directly_imported_by(parent)}
        waiting |= (imports().find_modules_directly_imported_by(one) | busy) - found
    paths = {path_of(one) for one in found}
    return {path for path in paths if not only_docstring(path)}


def only_docstring(path: str) -> bool:
    """Whether a package's __init__ holds nothing that could change a result."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    return path.endswith("__init__.py") and all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body
    )


def listed(stage: str) -> dict[str, set[str]]:
    """The stage's source deps in dvc.yaml, each with the files it stands for."""
    deps = [dep for dep in load("dvc.yaml")["stages"][stage]["deps"] if dep.startswith("src/")]
    return {dep: files_below(dep) for dep in deps}


def files_below(dep: str) -> set[str]:
    path = ROOT / dep
    files = path.rglob("*.py") if path.is_dir() else [path]
    return {str(file.relative_to(ROOT)) for file in files}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_exactly_the_source_that_the_stage_imports(stage: str) -> None:
    wanted, deps = needed(module_of(stage)), listed(stage)
    covered = set().union(*deps.values())
    complaints = [f"missing: {path}" for path in sorted(wanted - covered)]
    for dep, files in sorted(deps.items()):
        extra = sorted(path for path in files - wanted if not only_docstring(path))
        if extra == [dep]:
            complaints.append(f"superfluous: {dep}")
        elif extra:
            complaints.append(f"too wide: {dep} holds {', '.join(extra)}; name the files used")
    assert complaints == [], f"dvc.yaml, stage {stage}:\n  " + "\n  ".join(complaints)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_exist_and_are_named_once(stage: str) -> None:
    deps = load("dvc.yaml")["stages"][stage]["deps"]
    assert len(deps) == len(set(deps))
    assert [dep for dep in listed(stage) if not (ROOT / dep).exists()] == []


def test_stages_sections_modules_and_commands_have_the_same_names() -> None:
    assert tuple(load("dvc.yaml")["stages"]) == STAGES
    assert tuple(load("params.yaml")) == SECTIONS
    assert tuple(section.section for section in sections()) == SECTIONS
    commands = [
        command.name or command.callback.__name__
        for command in stage_commands.app.registered_commands
    ]
    assert tuple(commands) == STAGES
    names = [path.stem for path in (ROOT / "src/recctl/stages").glob("*.py")]
    runnable = {
        name for name in names if hasattr(importlib.import_module(f"recctl.stages.{name}"), "run")
    }
    assert runnable == {stage.replace("-", "_") for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_run_of_its_module(stage: str) -> None:
    run = importlib.import_module(module_of(stage)).run
    assert list(inspect.signature(run).parameters) == ["layout"]
    assert load("dvc.yaml")["stages"][stage]["cmd"] == f"recctl stage {stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_change_of_its_params_runs_a_stage_again(stage: str) -> None:
    assert stage in load("dvc.yaml")["stages"][stage]["params"]


@pytest.mark.parametrize("stage", STAGES)
def test_params_that_a_stage_names_stand_in_params_yaml(stage: str) -> None:
    """A default is not enough: DVC refuses to run a stage whose parameter it cannot find."""
    for name in load("dvc.yaml")["stages"][stage]["params"]:
        value = load("params.yaml")
        for key in name.split("."):
            assert key in value, f"params.yaml lacks {name}, which dvc.yaml names"
            value = value[key]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.section)
def test_params_yaml_is_accepted(section: Any) -> None:
    section.load(ROOT / "params.yaml")


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.section)
def test_a_misspelt_key_is_refused_by_name(section: Any, tmp_path: Path) -> None:
    document = {name: dict(keys) for name, keys in load("params.yaml").items()}
    key = next(iter(document[section.section]))
    document[section.section][f"{key}x"] = document[section.section][key]
    path = tmp_path / "params.yaml"
    with path.open("w") as file:
        YAML().dump(document, file)
    with pytest.raises(
        UserError, match=rf"'{section.section}\.{key}x' is not a setting.*did you mean '{key}'"
    ):
        section.load(path)


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.section)
def test_every_setting_is_explained_or_plain(section: Any) -> None:
    """A default is valid alone, so that a section may leave out what it does not change."""
    required = {name for name, field in section.model_fields.items() if field.is_required()}
    section.model_validate({name: load("params.yaml")[section.section][name] for name in required})


def test_no_output_lies_below_data() -> None:
    """`data/` is one versioned whole: a stage's output in it would overlap."""
    for stage in load("dvc.yaml")["stages"].values():
        for out in stage["outs"]:
            name = out if isinstance(out, str) else next(iter(out))
            assert name.startswith("artifacts/")
