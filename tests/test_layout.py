"""The project's folder."""

from pathlib import Path

import pytest

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.render.text import one_line


def project(folder: Path) -> Path:
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "name", ["a b", "a$b_", "a'b", 'a"b', "a\\b", "a#b", "a%20b", "a;b", "ж", "~"]
)
def test_a_path_may_hold_any_sign_but_those(tmp_path: Path, name: str) -> None:
    root = project(tmp_path / name)
    assert Layout.find(root).root == root


@pytest.mark.parametrize("name", ["quest?ion", "$HOME", "both'and\"", "a\nb", "a\x1bb", "a\u202eb"])
def test_a_path_that_databases_would_misread_is_refused_in_one_line(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError, match="the project's folder") as caught:
        Layout.find(project(tmp_path / name))
    assert one_line(str(caught.value)).isprintable()
