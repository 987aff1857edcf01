"""A project apart from the framework: what `recctl init` writes, `recctl upgrade` renews.

The templates are this package's own project files (links in template/), so that both projects have
the same. A stage of a made project does not depend on source files but on a digest of the installed
ones, which recctl.lock keeps: an upgrade runs only the stages whose code it changes.
"""

import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from recctl import layout
from recctl.config import STAGES, yaml_value
from recctl.errors import UserError
from recctl.files import replacing, replacing_folder

LOCK = "recctl.lock"
"""Which version wrote the project's files, their digests, and those of each stage's code."""

_PACKAGE = Path(__file__).parent
_SUFFIX = ".template"
_SOURCE = "src/recctl/"
_UPGRADE = "run 'recctl upgrade', then 'dvc repro'"


def version() -> str:
    """The installed version of recctl."""
    import recctl

    return str(recctl.__version__)


def files(name: str) -> dict[str, str]:
    """The files of a project with this name, by their paths."""
    folder = _PACKAGE / "template"
    found = {
        str(path.relative_to(folder)).removesuffix(_SUFFIX): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob(f"*{_SUFFIX}"))
    }
    found["dvc.yaml"] = _on_installed_code(found["dvc.yaml"])
    for path in ("README.md", "pyproject.toml"):
        found[path] = found[path].replace("{name}", name).replace("{version}", version())
    return {**found, "incoming/.gitkeep": ""}


def _on_installed_code(text: str) -> str:
    """A dvc.yaml whose stages depend on recctl.lock in place of source files."""
    text = re.sub(rf"^ +- {_SOURCE}.*\n", "", text, flags=re.MULTILINE)
    head, stages = text.split("stages:\n", 1)
    for stage in STAGES:
        code = f"{LOCK}: [code.{stage}]"
        pattern = rf"^(  {stage}:\n(?:    .*\n)*?    params: \[.*)\]$"
        stages, count = re.subn(pattern, rf"\1, {{{code}}}]", stages, flags=re.MULTILINE)
        assert count == 1, stage
    head = (
        "# The pipeline: order and caching. Each stage depends on a digest of its code, which is\n"
        "# in recctl.lock; 'recctl upgrade' renews it.\n"
    )
    return f"{head}stages:\n{stages}"


@cache
def code() -> dict[str, str]:
    """A digest of each stage's installed source, the files that the framework's dvc.yaml lists."""
    text = (_PACKAGE / "template" / f"dvc.yaml{_SUFFIX}").read_text(encoding="utf-8")
    pipeline: Any = YAML(typ="safe").load(text)
    return {stage: _digest(pipeline["stages"][stage]["deps"]) for stage in STAGES}


def _digest(deps: list[str]) -> str:
    found = hashlib.sha256()
    for dep in sorted(dep for dep in deps if dep.startswith(_SOURCE)):
        path = _PACKAGE / dep.removeprefix(_SOURCE)
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            content = file.read_bytes()
            found.update(f"{file.relative_to(_PACKAGE)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def create(folder: Path) -> None:
    """Write a new project; UserError where the folder holds something, or may not be called so."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty", "name a new folder")
    layout.check(folder.resolve())
    written = files(_name(folder))
    with replacing_folder(folder) as temporary:
        for path, text in written.items():
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        _write_lock(temporary / LOCK, {path: digest(text) for path, text in written.items()})


def _name(folder: Path) -> str:
    """A folder's name as the name of a Python project."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "project"


def digest(text: str) -> str:
    """The sha256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _write_lock(path: Path, written: dict[str, str]) -> None:
    content = {"recctl": version(), "code": dict(code()), "files": written}
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("# Written by 'recctl init' and 'recctl upgrade'; commit it.\n")
        YAML().dump(content, file)


@dataclass(frozen=True)
class Lock:
    """The content of recctl.lock."""

    version: str
    code: dict[str, str]
    files: dict[str, str]

    @classmethod
    def read(cls, root: Path) -> "Lock | None":
        """That of a project; None where it is a checkout of the framework. UserError if damaged."""
        path = root / LOCK
        if not path.is_file():
            return None
        content = yaml_value(path.read_text(encoding="utf-8", errors="replace"), LOCK)
        parts = content if isinstance(content, dict) else {}
        by_name = [parts.get("code"), parts.get("files")]
        if not all(isinstance(part, dict) for part in by_name):
            raise UserError(f"{path} is damaged", "restore it from git")
        return cls(str(parts.get("recctl")), *by_name)  # type: ignore[arg-type]

    @property
    def changed(self) -> list[str]:
        """The stages whose installed code is not that of the lock."""
        return [stage for stage, value in code().items() if self.code.get(stage) != value]


def require_locked(root: Path, stage: str | None = None) -> None:
    """UserError where the code of a stage, or of any, is not that of the project's recctl.lock."""
    lock = Lock.read(root)
    changed = lock.changed if lock else []
    if changed and (stage is None or stage in changed):
        raise UserError(
            f"recctl {version()} is installed, and {LOCK} is of {lock and lock.version}: "
            f"the code of {', '.join(changed)} differs",
            _UPGRADE,
        )


Action = Literal["add", "renew", "yours"]


@dataclass(frozen=True)
class Change:
    """What an upgrade does with a file: one that the user changed is left alone."""

    path: str
    action: Action
    text: str
    """The template's."""
    diff: str = ""
    """From the user's file to the template's."""


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade would change in a project."""

    root: Path
    lock: Lock
    changes: list[Change]
    templates: dict[str, str]

    @property
    def nothing(self) -> bool:
        return not self.changes and not self.lock.changed and self.lock.version == version()

    def apply(self) -> None:
        """Write the files, and the lock last: killed before, it does the rest when run again."""
        for change in self.changes:
            if change.action in ("add", "renew"):
                with replacing(self.root / change.path) as temporary:
                    temporary.write_text(change.text, encoding="utf-8")
        _write_lock(self.root / LOCK, {path: digest(text) for path, text in self.templates.items()})


def plan(root: Path) -> Upgrade:
    """What `recctl upgrade` would do; UserError where the project was not made by `recctl init`."""
    lock = Lock.read(root)
    if lock is None:
        raise UserError(
            f"{root} was not made by 'recctl init' (no {LOCK})",
            "a checkout of the framework is upgraded with git",
        )
    templates = files(_own_name(root))
    return Upgrade(root, lock, list(_changes(root, lock, templates)), templates)


def _own_name(root: Path) -> str:
    """The name that the project was made with, whatever its folder is called now."""
    path = root / "pyproject.toml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r'^name = "([a-z0-9-]+)"$', text, re.MULTILINE)
    return found[1] if found else _name(root)


def _changes(root: Path, lock: Lock, templates: dict[str, str]) -> Iterator[Change]:
    """Where a template differs from the file; what the user removed stays so."""
    for path, text in templates.items():
        file, recorded = root / path, lock.files.get(path)
        if not file.is_file():
            if recorded is None:
                yield Change(path, "add", text)
            continue
        own = file.read_text(encoding="utf-8", errors="replace")
        if own == text or recorded == digest(text):
            continue
        if recorded == digest(own):
            yield Change(path, "renew", text)
        else:
            yield Change(path, "yours", text, _diff(path, own, text))


def _diff(path: str, own: str, new: str) -> str:
    lines = (own.splitlines(keepends=True), new.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, path, f"{path} of recctl {version()}"))
