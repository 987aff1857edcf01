"""Addresses with secrets: named in params.yaml, read from the environment."""

import os
import re

from recctl.errors import UserError
from recctl.redact import redact

PREFIX = "env:"


def resolved(text: str, setting: str) -> str:
    """The address itself; `env:NAME` is replaced by the environment variable NAME.

    Raises UserError when it is not set.
    """
    if not text.startswith(PREFIX):
        return text
    return _value(text.removeprefix(PREFIX), setting)


def filled(text: str, setting: str) -> str:
    """The same; also each `${NAME}` in the address is replaced by that environment variable."""
    return re.sub(r"\$\{(\w+)\}", lambda found: _value(found[1], setting), resolved(text, setting))


def _value(name: str, setting: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(
            f"{setting} is read from the environment variable {name}, which is not set",
            f"set {name} where recctl runs",
        )
    return value


def require_open(text: str, setting: str, secret: bool) -> None:
    """UserError when an address in params.yaml contains a password (`secret`) or a token."""
    if text.startswith(PREFIX):
        return
    if secret or "***" in redact(text):
        raise UserError(f"{setting} in params.yaml contains a password or a token", _FIX)


def require_unsigned(text: str, setting: str) -> None:
    """UserError when an http address in params.yaml may contain a signature."""
    if not text.startswith(PREFIX) and "?" in text:
        raise UserError(
            f"{setting} in params.yaml has a query string, which may hold a signature", _FIX
        )


_FIX = "put the address into an environment variable NAME and write env:NAME"


def hidden(text: str, secret: str | None) -> str:
    """A message on one line without secrets."""
    shown = redact(text)
    if secret:
        shown = shown.replace(secret, "***")
    return " ".join(shown.split())[:400]
