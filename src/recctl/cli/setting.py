"""`--set PATH=VALUE`: a setting of params.yaml, for this call only."""

from typing import Any


def setting(text: str) -> tuple[str, Any]:
    """`train.max_epochs=5` as a path and a value; UserError where it is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from recctl.errors import UserError

    path, equals, value = text.partition("=")
    try:
        found = YAML(typ="safe").load(value)
    except (YAMLError, ValueError):  # the latter for an impossible date
        equals = ""
    if not equals or "." not in path:
        raise UserError(f"'{text}' is not a setting", "write it like train.max_epochs=5")
    return path, found
