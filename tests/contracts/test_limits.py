"""docs/limits.md has every limit of limits.py with its value.

`python tests/contracts/test_limits.py` rewrites the tables of the page.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from recctl.config import Section
from recctl.errors import MAY_PASS
from recctl.promotion.promote import EXIT_CODES
from recctl.sections import sections

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "recctl" / "limits.py"
PAGE = ROOT / "docs" / "limits.md"
UNITS = ("KIB", "MIB", "GIB")


def table(source: str) -> list[str]:
    """The rows that docs/limits.md should hold: a headline per part, then a row per limit.

    A limit is `NAME = value` and a docstring below it; parts are comments between blank lines.
    """
    body = ast.parse(source).body
    comments = {
        number: line.removeprefix("# ")
        for number, line in enumerate(source.splitlines(), start=1)
        if line.startswith("# ")
    }
    rows = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.Assign):
            continue
        [name] = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if name in UNITS:
            continue
        for number in [one for one in comments if one < node.lineno]:
            rows += ["", f"## {comments.pop(number)}", "| limit | value | what |", "|---|---|---|"]
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        assert documented, f"limits.py: {name} has no line below it that says what it bounds"
        assert isinstance(after, ast.Expr)
        assert isinstance(after.value, ast.Constant)
        rows.append(f"| `{name}` | {shown(node.value)} | {' '.join(after.value.value.split())} |")
    return rows


def renewed(page: str) -> str:
    """The page with the tables that it should hold."""
    return page[: page.index("\n## ")] + "\n".join(table(SOURCE.read_text("utf-8"))) + "\n"


def shown(value: ast.expr) -> str:
    """A value as people read it: `4 * MIB` as 4 MiB, `2**63 - 1` as it stands."""
    if isinstance(value, ast.Constant) and isinstance(value.value, int):
        return f"{value.value:,}"
    text = ast.unparse(value)
    for unit in UNITS:
        text = text.replace(f" * {unit}", f" {unit.title().replace('b', 'B')}")
    return text.replace(" ** ", "^")


def test_the_page_has_every_limit_with_its_value() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "rewrite it: python tests/contracts/test_limits.py"


def test_a_limit_without_a_line_is_noticed() -> None:
    good = 'MIB = 2**20\n\n# Files\n\nMOST = 4 * MIB\n"""Bytes of a file."""\n'
    assert table(good)[-1] == "| `MOST` | 4 MiB | Bytes of a file. |"
    try:
        table("MOST = 4\n")
    except AssertionError:
        return
    raise AssertionError("a limit without a line passed")


def test_the_exit_codes_of_the_page_are_those_of_the_code() -> None:
    """Ctrl-C's 130 and the shells' 0 to 2 are not constants of ours; other tests see them."""
    rows = re.findall(r"^\| (\d[\d, ]*) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    said = {int(code): text for codes, text in rows for code in codes.split(", ")}
    assert set(said) == {0, 1, 2, *EXIT_CODES.values(), MAY_PASS, 130}
    others = [name for code, name in sorted((code, name) for name, code in EXIT_CODES.items())]
    assert ", ".join(others[2:]) in said[3]
    assert others[:2] == ["promoted", "refused"]
    assert '"refused"' in said[2]


def unbounded(group: type[BaseModel], path: str) -> Iterator[str]:
    """The numbers in a group of settings that have no largest value."""
    for name, field in group.model_fields.items():
        kinds = set(walk(field.annotation))
        for one in kinds:
            if isinstance(one, type) and issubclass(one, BaseModel):
                yield from unbounded(one, f"{path}.{name}")
        bounded = any(hasattr(one, "le") or hasattr(one, "lt") for one in field.metadata)
        if kinds & {int, float} and not bounded and f"{path}.{name}" not in CHECKED_ELSEWHERE:
            yield f"{path}.{name}"


def walk(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from walk(inner)


CHECKED_ELSEWHERE = {
    "train.processes",  # by its own validator
    "ingest.minimum_weight",  # finite: it allocates nothing
    *(f"validate.{name}" for name in ("weight.minimum", "weight.maximum")),
    *(
        f"validate.volume_{one}.{end}"
        for one in ("drift", "break")
        for end in ("minimum", "maximum")
    ),
    "promotion.floors",
    "serve.challenger.version",  # at most limits.VERSION, where it is a number
    "intake.sources.initial",  # of a watermark, whose limits intake/sql.py has
}


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.section)
def test_every_number_in_params_yaml_has_a_largest_value(section: type[Section]) -> None:
    assert list(unbounded(section, section.section)) == []


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
