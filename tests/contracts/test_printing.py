"""Text from outside is printed in one place, which shows it literally."""

import ast
from pathlib import Path

import pytest

import recctl

SOURCE = Path(recctl.__file__).parent
ROOM = {SOURCE / "render/console.py", SOURCE / "render/text.py", SOURCE / "supervise.py"}
"""The last one runs without the package."""
FORBIDDEN = {"rich.console", "rich.table", "rich.text", "rich.markup", "rich.pretty", "rich.panel"}
ALLOWED = {"RenderableType"}
"""A type, which prints nothing."""


def offences(source: str) -> list[str]:
    """Ways round it: rich's own classes, bare prints, typer's echo; unnamed encodings."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN:
            found += [f"{node.module}.{one.name}" for one in node.names if one.name not in ALLOWED]
        if isinstance(node, ast.ImportFrom) and node.module == "rich":
            found += [f"rich.{one.name}" for one in node.names if one.name != "progress"]
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name in {"rich", *FORBIDDEN}]
        if isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {key.arg for key in node.keywords}
            if name in ("print", "typer.echo", "typer.secho", "click.echo", "sys.stdout.write"):
                found.append(name)
            if "text" in given and "encoding" not in given and name.startswith("subprocess."):
                found.append(f"{name} without encoding")
    return found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from rich.console import Console", 1),
        ("from rich.console import RenderableType", 0),
        ("from rich import print", 1),
        ("import rich.text", 1),
        ("print(name)", 1),
        ("typer.echo(name)", 1),
        ("subprocess.run(a, text=True)", 1),
        ("subprocess.run(a, text=True, encoding='utf-8')", 0),
        ("from recctl.render.console import Console", 0),
    ],
)
def test_the_guard_itself(source: str, count: int) -> None:
    assert len(offences(source)) == count


def test_printing_has_one_room() -> None:
    found = {
        f"{path.relative_to(SOURCE)}: {offence}"
        for path in SOURCE.rglob("*.py")
        if path not in ROOM
        for offence in offences(path.read_text(encoding="utf-8"))
    }
    assert found == set()
