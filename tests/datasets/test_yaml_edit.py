"""Edits of a YAML text: the value changes, everything else stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from recctl.datasets.yaml_edit import get, has, put
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
NAME = ("ingest", "name")
FORMS = {
    "an anchor nothing uses": ("name: &set starter  # c\n", "name: other  # c\n"),
    "an alias": ("name: *used\n", "name: other\n"),
    "a folded text": ("name: >-  # c\n    starter\n    two\n  # d\n", "name: other  # c\n  # d\n"),
    "a literal text": ("name: |\n    starter\n\n", "name: other\n\n"),
    "a tab after it": ("name: starter\t\n", "name: other\t\n"),
    "a tab before it": ("name:\tstarter\n", "name:\tother\n"),
    "two lines": ("name: starter\n    two\n", "name: other\n"),
    "quotes": ("'name' : 'sta''rter'\n", "'name' : other\n"),
    "a complex key": ("? name\n  : starter\n", "? name\n  : other\n"),
    "a tag": ("name: !!str 5\n", "name: other\n"),
    "signs of other planes": ("x: \U0001f600\n  name: \U0001f600 # \U0001f600\n", None),
}
"""A form of `ingest.name`, and what becomes of it; None: anything that says so."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("marks", ["", "\ufeff", "\r\n"], ids=["plain", "BOM", "CRLF"])
def test_any_form_of_a_value_is_replaced(form: str, marks: str) -> None:
    def whole(line: str) -> str:
        text = f"base: &used u\ningest:\n  files: [a]\n  {line}  last: 1 # z\n# end\n"
        return text.replace("\n", marks) if marks == "\r\n" else marks + text

    before, after = FORMS[form]
    changed = put(whole(before), NAME, "other")
    assert get(changed, NAME) == "other"
    assert after is None or changed == whole(after)
    assert "\ntrain:" in put(changed, ("train", "x"), 1).replace("\r", "")


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("ingest:\n  name: &set starter\nother: *set\n", NAME, 2),
        ("base: &b {name: x}\ningest: *b\n", NAME, 2),
        ("base: &b\n  name: x\ningest: {<<: *b}\nb: 1\n", ("base", "name"), 2),
        ("- a\n", NAME, 1),
        ("ingest: [a]\n", NAME, 1),
        ("ingest: {name: x, name: y}\n", NAME, 1),
        ("a: 1\n---\nb: 2\n", NAME, 2),
        ("ingest:\n\tname: x\n", NAME, 2),
    ],
)
def test_an_edit_that_would_change_more_is_refused_with_its_line(
    text: str, path: tuple[str, ...], line: int
) -> None:
    with pytest.raises(UserError, match=rf"params\.yaml.*line {line}\b") as caught:
        put(text, path, "other")
    assert "\n" not in str(caught.value)


def test_a_document_that_is_ended_grows_before_its_end() -> None:
    assert put("a: 1\n...\n", ("b",), 2) == "a: 1\nb: 2\n...\n"


def test_a_merged_key_is_overridden_where_it_is_used() -> None:
    text = "base: &b {name: x, files: [a]}\ningest:\n  <<: *b\n  z: 1\n"
    assert put(text, NAME, "own") == text + "  name: own\n"


def test_missing_keys_inside_braces_get_braces() -> None:
    assert put("a: {x: 1,}\n", ("a", "b", "c"), 2) == "a: {x: 1, b: {c: 2}}\n"
    assert put("{a: {}}\n", ("a", "b"), 2) == "{a: {b: 2}}\n"


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
