"""Every command is explained: by its own help, and in the README or the docs."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from recctl.cli.app import app

ROOT = Path(__file__).parents[2]


def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    command = [Path(sys.executable).with_name("zensical"), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.stem for path in (tmp_path / "build" / "site").rglob("*.html")}
    assert {path.stem for path in (ROOT / "docs").rglob("*.md")} <= pages


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every command and group of the application with its full name."""
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(typer.main.get_command(app), ("recctl",)))


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.stem != "experiments-archive"),
]
"""The archive has commands of their time."""


def documentation() -> str:
    """README and docs as one text, line breaks as spaces."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.exists())
    return " ".join(text.split())


def mention(name: str) -> str:
    """How the docs name a command; the stages are called by dvc, not by people."""
    return "recctl stage" if name.startswith("recctl stage") else name


def test_the_walk_finds_commands_of_groups() -> None:
    assert {"recctl", "recctl data", "recctl data use", "recctl doctor"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_mentioned_in_the_documentation(name: str) -> None:
    if mention(name) not in documentation():
        pytest.fail(f"neither README.md nor docs/ mentions '{mention(name)}'")


def written(page: str) -> Iterator[str]:
    """The recctl commands in a page's code, up to a comment, a pipe or the next command."""
    for code in re.findall(r"^    (.+)$|`([^`\n]+)`", page, re.MULTILINE):
        for command in re.findall(
            r"(?<![\w./-])(?<!--pool )recctl +[a-z][^#|;&)`':]*", "".join(code)
        ):
            yield command.strip()


def wrong(command: str) -> str | None:
    """What a written command has that the application does not know."""
    known, words = COMMANDS["recctl"], command.split()[1:]
    while words and getattr(known, "commands", None):
        if words[0].startswith(("-", "COMMAND", "NAME")):
            break
        if words[0] not in known.commands:
            return f"no command {words[0]}"
        known = known.commands[words.pop(0)]
    options = {name for one in known.params for name in (*one.opts, *one.secondary_opts)} | {
        "--help",
        "--version",
    }
    for word in words:
        name = word.partition("=")[0].strip("[]`',.:\"")
        if re.fullmatch(r"--[a-z-]+", name) and name not in options:
            return f"no option {name}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_writes_commands_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [(one, wrong(one)) for one in written(text) if wrong(one)] == []


def test_what_is_no_command_is_found() -> None:
    page = "    recctl promot --yes\n\n`recctl promote --yess`, `recctl data use X | recctl up`\n"
    found = [wrong(one) for one in written(page)]
    assert found == ["no command promot", "no option --yess", None, None]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_all_that_it_takes_have_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    unexplained = [p.name for p in command.params if not getattr(p, "help", None)]
    assert unexplained == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_begins_with_one_plain_sentence(name: str) -> None:
    first = COMMANDS[name].help.split("\n\n")[0]
    assert first[0].isupper()
    assert first.rstrip().endswith((".", ":"))
