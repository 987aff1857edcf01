"""docs/commands.md and docs/settings.md have every command and setting as the code has them.

`python tests/contracts/test_reference.py` rewrites both pages.
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recctl.cli.app import app
from recctl.config import Section
from recctl.sections import sections

DOCS = Path(__file__).parents[2] / "docs"
MANY = 10**15
"""A bound above this only keeps a number within 64 bits."""
ENDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def commands() -> str:
    """The page of the commands, from typer's own help."""
    lines = [
        "# Commands",
        "`recctl COMMAND --help` prints the same. A test compares this page with the code.",
    ]
    for name, command in _walk(typer.main.get_command(app), "recctl"):
        if getattr(command, "commands", None):
            continue
        arguments = [_metavar(one) for one in command.params if one.param_type_name == "argument"]
        lines += ["", f"## {name}", "", f"    {' '.join([name, *arguments])}", ""]
        lines += [_joined(part) + "\n" for part in inspect.cleandoc(command.help).split("\n\n")]
        rows = [_option(one) for one in command.params if one.name != "help"]
        lines += ["| option | what |", "|---|---|", *rows] if rows else []
    return "\n".join(lines) + "\n"


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(inner, f"{name} {word}")


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    if option.param_type_name == "argument":
        name = f"`{_metavar(option)}`"
    else:
        name = ", ".join(f"`{one}`" for one in option.opts)
    default = option.default
    shown = "" if callable(default) or default in (None, False, [], ()) else f" Default: {default}."
    return f"| {_cell(name)} | {_cell(option.help or '')}{shown} |"


def settings() -> str:
    """The page of params.yaml, from the typed sections."""
    lines = [
        "# Settings",
        "Every key of `params.yaml`. Unknown keys and values out of range are refused.",
        "A default is that of a key that is left out; the delivered `params.yaml` sets some to",
        "other values. A test compares this page with the code.",
    ]
    for section in sections():
        lines += ["", f"## {section.section}", _joined(section.__doc__ or ""), ""]
        lines += ["| key | value | default | what |", "|---|---|---|---|", *_rows(section, "")]
    return "\n".join(lines) + "\n"


def _rows(group: type[BaseModel], prefix: str) -> Iterator[str]:
    what = _docstrings(group)
    for name, field in group.model_fields.items():
        inner = _groups(field.annotation)
        default = "required" if field.is_required() else _default(field)
        text = what.get(name) or " ".join(_joined(one.__doc__ or "") for one in inner)
        value = _cell(_kind(field.annotation) + _range(field))
        yield f"| `{prefix}{name}` | {value} | {_cell(default)} | {_cell(text)} |"
        for one in inner:
            if not issubclass(one, Section):
                yield from _rows(one, f"{prefix}{name}.")


def _docstrings(group: type[BaseModel]) -> dict[str, str]:
    """The strings below the fields, those of inherited fields too."""
    found: dict[str, str] = {}
    for one in reversed(group.__mro__):
        if issubclass(one, BaseModel) and one.__module__.startswith("recctl"):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
            assert isinstance(body, ast.ClassDef)
            for field, after in zip(body.body, body.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(field.target, ast.Name)
                    and isinstance(after, ast.Expr)
                    and isinstance(after.value, ast.Constant)
                ):
                    found[field.target.id] = _joined(str(after.value.value))
    return found


def _groups(annotation: Any) -> list[type[BaseModel]]:
    """The groups of settings in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [group for inner in get_args(annotation) for group in _groups(inner)]


def _kind(annotation: Any) -> str:
    """An annotation in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_kind, inner)))
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (list, tuple, set, frozenset):
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"{_kind(inner[1])} by {_kind(inner[0])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {str: "text", int: "whole number", float: "number", bool: "true, false"}
    return "null" if annotation is type(None) else names.get(annotation, annotation.__name__)


def _range(field: FieldInfo) -> str:
    ends = [
        f"{word} {_number(getattr(one, name))}"
        for one in field.metadata
        for name, word in ENDS.items()
        if abs(getattr(one, name, None) or 0) < MANY and getattr(one, name, None) is not None
    ]
    return f", {' and '.join(ends)}" if ends else ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""
    names = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(str(one) for one in value if not isinstance(one, BaseModel))}]"
    return str(value)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _joined(text).replace("|", "\\|")


PAGES = {"commands.md": commands, "settings.md": settings}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_that_of_the_code(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == PAGES[name](), "rewrite it: python tests/contracts/test_reference.py"


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.section)
def test_every_setting_says_what_it_is_for(section: type[Section]) -> None:
    """Keys of a group are explained by the group where their names say enough."""
    what = _docstrings(section)
    for name, field in section.model_fields.items():
        assert name in what or _groups(field.annotation), f"{section.section}.{name}"


if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
