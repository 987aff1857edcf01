"""Edits of a YAML text: the value changes, everything else stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from recctl.data.yaml_edit import get, has, put
from recctl.errors import UserError

TEXT = """\
# settings of the pipeline

ingest:
  name: starter   # the set's name
  files:  # in order
    - a.csv
    - b.csv

  # where tables run
  engine: "duckdb"

# the model
train:
  bert4rec: {max_length: 200, dropout: .2}  # after the paper
  empty:
  quiet: null  # nothing yet
"""


def test_a_scalar_changes_and_its_comment_stays() -> None:
    changed = put(TEXT, ("ingest", "name"), "own")
    assert changed == TEXT.replace("name: starter ", "name: own ")


def test_a_block_list_becomes_one_line_and_the_comments_around_it_stay() -> None:
    changed = put(TEXT, ("ingest", "files"), ["c.csv"])
    old = "  files:  # in order\n    - a.csv\n    - b.csv\n"
    assert changed == TEXT.replace(old, "  files: [c.csv]  # in order\n")


def test_a_new_key_goes_before_the_next_sections_comment() -> None:
    changed = put(TEXT, ("ingest", "time_unit"), "ms")
    old = '  engine: "duckdb"\n'
    assert changed == TEXT.replace(old, old + "  time_unit: ms\n")


def test_a_value_inside_braces() -> None:
    assert put(TEXT, ("train", "bert4rec", "max_length"), 50) == TEXT.replace("200", "50")
    assert "dropout: .2, layers: 2}  # after" in put(TEXT, ("train", "bert4rec", "layers"), 2)


@pytest.mark.parametrize(("key", "line"), [("empty", "  empty: 1\n"), ("quiet", "  quiet: 1  # n")])
def test_a_missing_value_is_filled_in(key: str, line: str) -> None:
    assert line in put(TEXT, ("train", key), 1)


def test_a_new_section_goes_to_the_end() -> None:
    assert put(TEXT, ("a", "b"), 1.5) == TEXT + "a:\n  b: 1.5\n"
    assert put("", ("a", "b"), True) == "a:\n  b: true\n"
    assert put("x: 1", ("a",), None) == "x: 1\na: null\n"


def test_an_equal_value_leaves_the_text_alone() -> None:
    assert put(TEXT, ("ingest", "engine"), "duckdb") is TEXT


def test_a_scalar_on_the_way_is_refused() -> None:
    with pytest.raises(UserError, match=r"'ingest\.name' holds no settings"):
        put(TEXT, ("ingest", "name", "deeper"), 1)


def test_has_and_get() -> None:
    assert has(TEXT, ("train", "bert4rec", "dropout"))
    assert not has(TEXT, ("train", "bert4rec", "dropout", "x"))
    with pytest.raises(KeyError, match=r"train\.nothing"):
        get(TEXT, ("train", "nothing"))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.floats(0.001, 1000)
    | st.text(max_size=20)
)
WRITTEN = ("ingest name", "ingest files", "ingest new", "train empty", "train quiet", "new one")
PATHS = st.sampled_from([tuple(path.split()) for path in (*WRITTEN, "train bert4rec x")])


@given(path=PATHS, value=SCALARS | st.lists(st.text(max_size=9), max_size=3))
def test_any_value_is_read_back_and_nothing_else_changes(
    path: tuple[str, ...], value: object
) -> None:
    changed = YAML(typ="safe").load(put(TEXT, path, value))
    expected = YAML(typ="safe").load(TEXT)
    inner = expected
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    assert changed == expected
