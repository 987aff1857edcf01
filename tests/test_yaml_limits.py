"""YAML that is hostile or huge is refused in one line; what a person writes is read."""

from datetime import date
from pathlib import Path

import pytest

from recctl import limits
from recctl.config import read_yaml, yaml_value
from recctl.errors import UserError


def nested(levels: int) -> str:
    return "a: " + "[" * (levels - 1) + "]" * (levels - 1)


def bomb(generations: int) -> str:
    """Each line stands for ten of the one before."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for one in range(1, generations):
        lines.append(f"a{one}: &a{one} [{', '.join([f'*a{one - 1}'] * 10)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 2020-01-31]", {"a": 1, "b": ["x", date(2020, 1, 31)]}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: !!str 5", {"a": "5"}),
        ("a: >\n  one\n  two\n", {"a": "one two\n"}),
        (f"a: {2**1000 - 1}", {"a": 2**1000 - 1}),
        ("", None),
    ],
)
def test_what_a_person_writes_is_read(text: str, value: object) -> None:
    assert yaml_value(text, "x.yaml") == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (nested(limits.YAML_DEPTH + 1), "deeper than"),
        ("a: " + "[" * 100_000, "deeper than"),
        ("- " * 100_000, "deeper than"),
        ("{a: " * 100_000, "deeper than"),
        ("? " * 100_000, "deeper than"),
        (bomb(9), "more than 100,000 values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: {c: *a}}", "contains itself"),
        ("a: *nothing", "undefined alias"),
        ("a: " + "9" * 100_000, "not valid YAML"),
        ("a: 0x" + "f" * 100_000, "bits"),
        (f"a: {2**1000}", "1,001 bits"),
        ("? 0x" + "f" * 500 + "\n: 1", "bits"),
        ("a: !!python/object:os.system [x]", "tag"),
        ("a: !mine x", "tag"),
        ("a: !!timestamp x", "tag"),
        ("a: !!int ''", "tag"),
        ("a: !!bool x", "tag"),
        ("a: 2020-13-45", "month"),
        ("a: 1\n---\nb: 2", "single document"),
        ("a: 1\na: 2", "duplicate"),
        ("a: \x00", "not valid YAML"),
        ("a:\n\t- b", "not valid YAML"),
    ],
    ids=lambda text: text[:24],
)
def test_what_is_hostile_is_one_line(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        yaml_value(text, "x.yaml")
    assert len(str(raised.value)) < 500
    assert str(raised.value).startswith("x.yaml is not valid YAML")


def test_just_within_the_limits() -> None:
    assert isinstance(yaml_value(nested(limits.YAML_DEPTH), "x"), dict)
    assert len(yaml_value("[" + "1," * (limits.YAML_NODES - 1) + "]", "x")) == 99_999
    with pytest.raises(UserError, match="values"):
        yaml_value("[" + "1," * limits.YAML_NODES + "]", "x")


def test_a_file_is_read_up_to_its_largest_size(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"a: 1 # " + b"x" * (limits.YAML_BYTES - 7))
    assert read_yaml(path) == {"a": 1}
    path.write_bytes(b"a: 1 # " + b"x" * (limits.YAML_BYTES - 6))
    with pytest.raises(UserError, match="more than 4,194,304 bytes"):
        read_yaml(path)
    path.write_bytes(b"a: \xff")
    with pytest.raises(UserError, match="utf-8"):
        read_yaml(path)
