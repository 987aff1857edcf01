"""params.yaml: typed sections, read with errors that say what, where and how to mend it."""

import copy
import difflib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from recctl.errors import UserError

STAGES = ("ingest", "validate", "sequence-split", "train", "evaluate")
SECTIONS = (*STAGES, "promotion", "intake", "retrain", "monitor")


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown keys; `model_config` is pydantic's."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def iso_text(value: object) -> object:
    """A date as text: YAML makes one of an unquoted 2020-01-31, which is not what was meant."""
    return value.isoformat() if isinstance(value, date) else value


class Section(Settings):
    """One top-level section of params.yaml."""

    section: ClassVar[str]
    optional: ClassVar[bool] = False
    """Whether its defaults hold where params.yaml does not have it."""

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

    Raises UserError where a key stands below a value.

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
            raise UserError(f"'{path}' is no setting", "what it is below holds a value")
        where[last] = value
    return settings


def read_yaml(path: Path) -> Any:
    """What a YAML file says; UserError when it is missing or not YAML."""
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no {path}", "restore it from git") from None
    except (YAMLError, ValueError) as error:  # such as an impossible date, or no UTF-8
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML ({reason})", "mend the line named") from None


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
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"'{name}' is not a {kind}; {hint}known: {', '.join(known)}"


def _first_mistake(cls: type[Section], error: ValidationError) -> str:
    mistake = error.errors(include_url=False)[0]
    keys = [str(key) for key in mistake["loc"]]
    where = ".".join([cls.section, *keys])
    if mistake["type"] == "extra_forbidden":
        return _unknown(where, _known_keys(cls, keys[:-1]), "setting")
    if mistake["type"] == "missing":
        return f"'{where}' is missing; add it"
    if mistake["type"] == "model_type":
        return f"'{where}' is to hold settings; write them below it as 'key: value' lines"
    message = mistake["msg"].removeprefix("Value error, ")
    given = "" if isinstance(mistake["input"], dict) else f" is {mistake['input']!r:.80}"
    if mistake["type"] == "value_error":  # a sentence of ours; some say how to mend it themselves
        return f"'{where}'{given}: {message}" + ("" if "; " in message else "; mend it")
    return f"'{where}'{given}; {message.replace('Input should be', 'it should be')}"


def _known_keys(cls: type[BaseModel], path: list[str]) -> list[str]:
    """The keys allowed below `path` in a section, for the hint."""
    for key in path:
        field = cls.model_fields.get(key)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        inner = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
        if not inner:
            return []
        cls = inner[0]
    return [field.alias or name for name, field in cls.model_fields.items()]
