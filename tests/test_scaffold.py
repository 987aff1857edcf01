"""A project made by `recctl init`: its files, its code's digests, its upgrade."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML
from typer.testing import CliRunner

from recctl import git, scaffold
from recctl.cli.app import app
from recctl.config import STAGES
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.sections import sections

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "recctl"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "Shop 1"
    scaffold.create(folder)
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that a test may change, as an upgrade does."""
    copy = tmp_path / "installed"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(scaffold, "_PACKAGE", copy)
    scaffold.code.cache_clear()
    yield copy
    scaffold.code.cache_clear()


def upgraded(installed: Path, monkeypatch: pytest.MonkeyPatch, source: str, text: str) -> None:
    """The next version, with a line more in a file."""
    with (installed / source).open("a") as file:
        file.write(text)
    monkeypatch.setattr(scaffold, "version", lambda: "9.0")
    scaffold.code.cache_clear()


def changed_since(before: dict[str, str]) -> set[str]:
    """The stages whose code has another digest."""
    return {name for name in STAGES if scaffold.code()[name] != before[name]}


def differing(one: Path, other: Path, names: set[str]) -> set[str]:
    """The files that are not the same in two folders."""
    return {name for name in names if (one / name).read_bytes() != (other / name).read_bytes()}


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = CliRunner().invoke(app, [*arguments])
    finally:
        os.chdir(before)
    error = done.exception if isinstance(done.exception, UserError) else None
    return 2 if error else done.exit_code, f"{done.output}{error or ''}"


def test_it_has_the_files_of_the_framework(made: Path) -> None:
    own = {"README.md", "pyproject.toml", "dvc.yaml", ".dvc/config", scaffold.LOCK}
    paths = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert own < paths
    assert differing(made, ROOT, paths - own) == set()
    flows = {f"flows/{path.name}" for path in (ROOT / "flows").glob("*.py")}
    assert flows | {"params.yaml", "prefect.yaml", ".gitignore", "incoming/.gitkeep"} < paths
    assert 'name = "shop-1"' in (made / "pyproject.toml").read_text()
    assert Layout.find(made / "flows").root == made


def test_its_pipeline_differs_in_what_it_knows_of_the_code(made: Path) -> None:
    ours, theirs = load(ROOT / "dvc.yaml"), load(made / "dvc.yaml")
    for name, stage in ours["stages"].items():
        stage["deps"] = [dep for dep in stage["deps"] if not dep.startswith("src/")]
        stage["params"].append({scaffold.LOCK: [f"code.{name}"]})
    assert theirs == ours
    assert tuple(load(made / scaffold.LOCK)["code"]) == STAGES


def test_a_change_of_code_changes_the_digests_of_the_stages_that_run_it(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = scaffold.code()
    upgraded(installed, monkeypatch, "evaluation/slices.py", "# more\n")
    assert changed_since(before) == {"evaluate"}
    upgraded(installed, monkeypatch, "models/markov.py", "# more\n")
    assert changed_since(before) == {
        "train",
        "evaluate",
    }
    before = scaffold.code()
    upgraded(installed, monkeypatch, "promotion/promote.py", "# more\n")
    assert scaffold.code() == before


def test_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    with pytest.raises(UserError, match="is not empty; name a new folder"):
        scaffold.create(tmp_path)
    with pytest.raises(UserError, match="is not empty"):
        scaffold.create(tmp_path / "mine")
    with pytest.raises(UserError, match="its path contains"):
        scaffold.create(tmp_path / "what?")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_init_commits_it_unless_a_repository_holds_it(tmp_path: Path) -> None:
    code, output = run(tmp_path, "init", "shop")
    assert code == 0
    assert "recctl data use" in output
    assert git.git(tmp_path / "shop", "status", "--porcelain") == ""
    assert "A project of recctl" in git.git(tmp_path / "shop", "log", "--oneline")
    assert run(tmp_path / "shop", "init", "inner")[0] == 0
    assert not (tmp_path / "shop" / "inner" / ".git").exists()


def test_other_code_than_the_locks_runs_no_stage(
    made: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaffold.require_locked(made)
    upgraded(installed, monkeypatch, "evaluation/slices.py", "# more\n")
    scaffold.require_locked(made, "train")
    with pytest.raises(UserError, match=r"of 0.*: the code of evaluate differs; run 'recctl upgr"):
        scaffold.require_locked(made, "evaluate")
    with pytest.raises(UserError, match="the code of evaluate differs"):
        scaffold.require_locked(made)
    code, output = run(made, "stage", "evaluate")
    assert (code, "the code of evaluate differs" in output) == (2, True)
    scaffold.plan(made).apply()
    scaffold.require_locked(made)


def test_a_checkout_of_the_framework_has_no_lock(tmp_path: Path) -> None:
    scaffold.require_locked(ROOT)
    with pytest.raises(UserError, match="was not made by 'recctl init'"):
        scaffold.plan(ROOT)


def test_an_upgrade_renews_what_the_user_has_not_changed(
    made: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made / "params.yaml").write_text("# mine\n")
    (made / "flows" / "backfill.py").unlink()
    (made / "README.md").write_text("mine, and the template stays the same\n")
    for name in ("params.yaml", "flows/backfill.py", "prefect.yaml"):
        path = installed / "template" / f"{name}.template"
        path.write_text(path.read_text() + "# new\n")
    (installed / "template" / "flows" / "more.py.template").write_text("more\n")
    upgraded(installed, monkeypatch, "models/markov.py", "# more\n")
    found = scaffold.plan(made)
    actions = {change.path: change.action for change in found.changes}
    assert actions == {
        "params.yaml": "yours", "prefect.yaml": "renew", "pyproject.toml": "renew",
        "flows/more.py": "add",
    }  # fmt: skip
    code, output = run(made, "upgrade")
    assert (code, "add --yes" in output) == (2, True)
    assert "# new" not in (made / "prefect.yaml").read_text()

    code, output = run(made, "upgrade", "--yes")
    assert code == 0, output
    assert "    -# mine\n" in output
    assert "stage train: its code changed" in output
    assert (made / "params.yaml").read_text() == "# mine\n"
    assert not (made / "flows" / "backfill.py").exists()
    assert (made / "prefect.yaml").read_text().endswith("# new\n")
    assert 'recctl==9.0"' in (made / "pyproject.toml").read_text()
    assert (made / "flows" / "more.py").read_text() == "more\n"
    assert run(made, "upgrade") == (0, "Nothing to do: the project is of recctl 9.0.\n")


def test_an_upgrade_that_was_killed_ends_when_it_is_run_again(
    made: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = installed / "template" / "prefect.yaml.template"
    path.write_text(path.read_text() + "# new\n")
    upgraded(installed, monkeypatch, "models/markov.py", "# more\n")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(scaffold, "_write_lock", killed)
        with pytest.raises(KeyboardInterrupt):
            scaffold.plan(made).apply()
    assert (made / "prefect.yaml").read_text().endswith("# new\n")
    assert scaffold.plan(made).changes == []
    scaffold.plan(made).apply()
    assert scaffold.plan(made).nothing


def test_a_project_of_0_2_0_is_upgraded(tmp_path: Path) -> None:
    """Its data set and settings stay; the rest is as in a new project."""
    kept = json.loads((Path(__file__).parent / "data" / "project-0.2.0.json").read_text())
    folder = tmp_path / "shop"
    for path, text in kept.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    own = kept["params.yaml"].replace("name: starter", "name: orders")
    (folder / "params.yaml").write_text(own)
    assert run(folder, "upgrade", "--yes")[0] == 0
    scaffold.require_locked(folder)
    assert scaffold.plan(folder).nothing
    new = scaffold.files("shop")
    assert {path for path in new if (folder / path).read_text() != new[path]} == {"params.yaml"}
    assert (folder / "params.yaml").read_text() == own
    for section in sections():
        section.load(folder / "params.yaml")


@pytest.mark.parametrize("text", ["", "code: 1\nfiles: {}\n", "[]\n"])
def test_a_damaged_lock(made: Path, text: str) -> None:
    (made / scaffold.LOCK).write_text(text)
    with pytest.raises(UserError, match=r"recctl\.lock is damaged; restore it from git"):
        scaffold.require_locked(made)


def test_lower_bounds_are_versions_that_the_suite_passes_with() -> None:
    """Those of constraints.txt, which `make test` installs."""
    pins = {
        canonicalize_name(name): Version(version)
        for name, _, version in (
            line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
        )
        if version
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in (*project["dependencies"], *extras["spark"], *extras["dev"]):
        requirement = Requirement(text)
        pin = pins.get(canonicalize_name(requirement.name))
        bounds = [Version(one.version) for one in requirement.specifier if one.operator == ">="]
        for bound in bounds:
            assert pin is not None, text
            assert bound.release[:2] == pin.release[:2], text


@pytest.mark.slow
def test_the_wheel_makes_the_same_project(tmp_path: Path, made: Path) -> None:
    """Built from the sdist of a copy that has what git has, and used without either."""
    source, place = tmp_path / "source", tmp_path / "place"
    listed = git.git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for path in listed.split("\0"):
        if (ROOT / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, source / path, follow_symlinks=False)
    built = build("sdist", source, tmp_path)
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path, filter="data")
    wheel = build("wheel", tmp_path / built.name.removesuffix(".tar.gz"), tmp_path)
    zipfile.ZipFile(wheel).extractall(place)
    shutil.rmtree(source)
    subprocess.run(
        [sys.executable, "-P", "-c", "import recctl.cli; recctl.cli.main()", "init", "Shop 1"],
        cwd=place, env={**os.environ, "PYTHONPATH": str(place)}, check=True,
    )  # fmt: skip
    names = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert differing(made, place / "Shop 1", names) == set()


def build(kind: str, source: Path, target: Path) -> Path:
    """What setuptools builds, in the folder `target`."""
    script = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, target], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = target.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind])
    return built
