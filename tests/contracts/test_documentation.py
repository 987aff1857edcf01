"""Every command is explained: by its own help, and in the README or the docs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from recctl.cli.app import app

ROOT = Path(__file__).parents[2]


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Every command and group of the application with its full name."""
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(typer.main.get_command(app), ("recctl",)))


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
