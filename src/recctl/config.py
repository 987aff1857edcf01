"""params.yaml: typed sections, read with errors that say what, where and how to fix it."""

import copy
import re
import textwrap
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    NodeEvent,
)

from recctl import limits
from recctl.errors import UserError, known_names
from recctl.settings import Settings as Settings

STAGES = ("ingest", "validate", "sequence-split", "train", "evaluate")
SECTIONS = (
    *(*STAGES, "tune", "promotion", "intake"),
    *("retrain", "monitor", "forget", "notify", "serve"),
)


def iso_text(value: object) -> object:
    """A date as text: YAML reads an unquoted 2020-01-31 as a date."""
    return value.isoformat() if isinstance(value, date) else value


class Section(Settings):
    """One top-level section of params.yaml."""

    section: ClassVar[str]
    optional: ClassVar[bool] = False
    """Whether params.yaml may leave it out; its defaults apply then."""

    @classmethod
    def load(cls, path: Path, changes: Mapping[str, Any] | None = None) -> Self:
        """Read this section of a params.yaml; `changes` by dotted keys replace its values.

        Raises UserError when the file is missing or not YAML, when a section or key is unknown,
        or when a value does not fit.
        """
        document = read_params(path)
        if cls.section not in document:
            if cls.optional:
                return cls()
            raise UserError(f"{path.name} has no section '{cls.section}'", "add it")
        try:
            return cls.model_validate(changed(document[cls.section], changes or {}))
        except ValidationError as error:
            raise UserError(f"{path.name}: {_first_mistake(cls, error)}") from None


def changed(settings: Any, changes: Mapping[str, Any]) -> Any:
    """Settings with the values at some dotted keys replaced.

    Raises UserError where a key is below a value.

    >>> changed({"a": {"b": 1}, "c": 2}, {"a.b": 3, "d.e": 4})
    {'a': {'b': 3}, 'c': 2, 'd': {'e': 4}}
    """
    settings = copy.deepcopy(settings)
    for path, value in changes.items():
        *between, last = path.split(".")
        where = settings
        for key in between:
            if not isinstance(where, dict):
                break
            if where.get(key) is None:  # absent, or a section with nothing in it
                where[key] = {}
            where = where[key]
        if not isinstance(where, dict):
            raise UserError(f"'{path}' is not a setting", "a part of it holds a value")
        where[last] = value
    return settings


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; UserError when it is missing or not YAML."""
    try:
        with path.open("rb") as file:
            content = file.read(limits.YAML_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"no {path}", "restore it from git") from None
    if len(content) > limits.YAML_BYTES:
        raise _not_yaml(str(path), f"more than {limits.YAML_BYTES:,} bytes")
    return yaml_value(content, str(path))


def yaml_value(content: str | bytes, where: str) -> Any:
    """The content of a YAML text within the limits on YAML; UserError where it is not YAML."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_yaml(where, str(error)) from None
    if conflict := _CONFLICT.search(text):
        line = text.count("\n", 0, conflict.start()) + 1
        raise UserError(
            f"{where} holds the marks of a merge conflict (line {line})",
            "keep one of its two sides and remove the marks",
        )
    try:
        _check_shape(text)
        value = YAML(typ="safe").load(text)
        _check_numbers(value)
    except (YAMLError, ValueError) as error:  # such as an impossible date
        raise _not_yaml(where, str(error)) from None
    return value


_CONFLICT = re.compile(r"^(?:<{7} |={7}\r?$|>{7} )", re.MULTILINE)


def _not_yaml(where: str, reason: str) -> UserError:
    short = textwrap.shorten(reason, 300, placeholder=" ...")
    return UserError(f"{where} is not valid YAML ({short})", "fix the line named")


def _check_shape(text: str) -> None:
    """ValueError for a document that could exhaust the stack or the memory, before it is built.

    An alias counts as many values as it refers to, so that a few lines cannot expand to billions.
    """
    sizes: dict[str, int | None] = {}  # by anchor; None while it is open
    opened: list[tuple[str | None, int]] = []
    nodes = 0
    for event in YAML(typ="safe").parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
        elif isinstance(event, AliasEvent):
            size = sizes.get(event.anchor, 0)  # 0: unknown, as the loader will say
            if size is None:
                raise ValueError(f"line {line}: '*{event.anchor}' contains itself")
            nodes += size
        elif isinstance(event, NodeEvent):
            nodes += 1
            tag = getattr(event, "tag", None)
            if tag not in (None, _TEXT_TAG):
                raise ValueError(f"line {line}: the tag {tag:.80} is not allowed")
            if isinstance(event, CollectionStartEvent):
                opened.append((event.anchor, nodes - 1))
            if event.anchor is not None:
                sizes[event.anchor] = None if isinstance(event, CollectionStartEvent) else 1
        if len(opened) > limits.YAML_DEPTH:
            raise ValueError(f"line {line}: nested deeper than {limits.YAML_DEPTH} levels")
        if nodes > limits.YAML_NODES:
            raise ValueError(f"line {line}: more than {limits.YAML_NODES:,} values")


_TEXT_TAG = "tag:yaml.org,2002:str"


def _check_numbers(value: object) -> None:
    """ValueError for a whole number that is too large to be printed."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_numbers(key)
            _check_numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_numbers(inner)
    elif isinstance(value, int) and value.bit_length() > limits.INTEGER_BITS:
        raise ValueError(f"a whole number of {value.bit_length():,} bits")


def read_params(path: Path) -> dict[str, Any]:
    """params.yaml as plain dictionaries, its section names checked."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise UserError(f"{path} holds no sections", f"expected {', '.join(SECTIONS)}")
    for name in document:
        if name not in SECTIONS:
            raise UserError(f"{path.name}: {_unknown(str(name), list(SECTIONS), 'section')}")
    return document


def _unknown(name: str, known: list[str], kind: str) -> str:
    return f"'{name}' is not a {kind}; {known_names(name.rpartition('.')[2], known)}"


def _first_mistake(cls: type[Section], error: ValidationError) -> str:
    mistake = error.errors(include_url=False)[0]
    keys = [str(key) for key in mistake["loc"]]
    where = ".".join([cls.section, *keys])
    if mistake["type"] == "extra_forbidden":
        return _unknown(where, _known_keys(cls, keys[:-1]), "setting")
    if mistake["type"] == "missing":
        return f"'{where}' is missing; add it"
    if mistake["type"] == "model_type":
        return f"'{where}' must hold settings; write them below it as 'key: value' lines"
    message = mistake["msg"].removeprefix("Value error, ")
    given = "" if isinstance(mistake["input"], dict) else f" is {mistake['input']!r:.80}"
    if mistake["type"] == "value_error":  # our own message; some already say how to fix it
        return f"'{where}'{given}: {message}" + ("" if "; " in message else "; fix it")
    return f"'{where}'{given}; {message.replace('Input should be', 'it should be')}"


def _known_keys(cls: type[BaseModel], path: list[str]) -> list[str]:
    """The keys allowed below `path` in a section, for the hint."""
    for key in path:
        field = cls.model_fields.get(key)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return []
        cls = inner[0]
    return [field.alias or name for name, field in cls.model_fields.items()]
