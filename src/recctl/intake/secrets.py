"""Addresses that hold secrets: named in params.yaml, read from the environment."""

import os

from recctl.errors import UserError
from recctl.redact import redact

PREFIX = "env:"


def resolved(text: str, setting: str) -> str:
    """The address itself; what `env:NAME` stands for is in the environment variable NAME.

    Raises UserError when that is not set.
    """
    if not text.startswith(PREFIX):
        return text
    name = text.removeprefix(PREFIX)
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(
            f"{setting} is read from the environment variable {name}, which is not set",
            f"set {name} where the intake runs",
        )
    return value


def require_open(text: str, setting: str, secret: bool) -> None:
    """UserError when an address in params.yaml shows a password, as is known, or a token."""
    if text.startswith(PREFIX):
        return
    if secret or "***" in redact(text):
        raise UserError(f"{setting} in params.yaml shows a password or a token", _FIX)


def require_unsigned(text: str, setting: str) -> None:
    """UserError when an http address in params.yaml could be a signed one."""
    if not text.startswith(PREFIX) and "?" in text:
        raise UserError(
            f"{setting} in params.yaml has a query string, which may hold a signature", _FIX
        )


_FIX = "put the address into an environment variable NAME and write env:NAME"


def hidden(text: str, secret: str | None) -> str:
    """One line of a message, with nothing secret in it."""
    shown = redact(text)
    if secret:
        shown = shown.replace(secret, "***")
    return " ".join(shown.split())[:400]
