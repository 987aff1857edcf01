"""`--set PATH=VALUE`: a setting of params.yaml, for this call only."""

from typing import Any


def setting(text: str) -> tuple[str, Any]:
    """`train.max_epochs=5` as a path and a value; UserError where it is none."""
    from recctl.config import yaml_value
    from recctl.errors import UserError

    path, equals, value = text.partition("=")
    try:
        found = yaml_value(value, text)
    except UserError:
        equals = ""
    if not equals or "." not in path:
        raise UserError(f"'{text}' is not a setting", "write it like train.max_epochs=5")
    return path, found
