"""A file at an http address, downloaded at each intake."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recctl.data.params import IngestParams
from recctl.datasets.download import download
from recctl.errors import MayPass, Unknown, UserError, type_of
from recctl.intake import read, secrets
from recctl.intake.params import Url
from recctl.redact import redact


def fetch(source: Url, params: IngestParams, folder: Path, say: Callable[[str], None]) -> Path:
    """Download the file to `folder`; an interrupted download is continued.

    Raises MayPass when the server cannot be reached, Gone when it has no such file, Unknown when it
    refuses.
    """
    setting = f"the address of source '{source.name}'"
    address = secrets.resolved(source.address, setting)
    secrets.require_open(source.address, setting, redact(address) != address)
    secrets.require_unsigned(source.address, setting)
    user, name = _parts(address, setting)
    target = folder / _name(name, params)
    target.unlink(missing_ok=True)  # left by a killed intake: the file may have grown since

    def hidden(text: str) -> str:
        # an address from the environment is not shown: its path may be the secret
        return secrets.hidden(text.replace(address, source.address), user)

    try:
        return download(address, target, progress=_silent, say=lambda text: say(hidden(text)))
    except UserError as error:
        fix = "the next intake tries again" if isinstance(error, MayPass) else "correct its address"
        if type(error) is Unknown:
            fix = "give access to it, or correct its address"
        what = f"source '{source.name}': {hidden(error.what)}"
        raise type_of(error)(what, fix) from None


def _parts(address: str, setting: str) -> tuple[str | None, str]:
    """User and password of an address as written in it, and the last part of its path."""
    try:
        parts = urlsplit(address)
        user, name = parts.netloc.rpartition("@")[0] or None, Path(unquote(parts.path)).name
        _ = parts.port
    except ValueError:  # also for an invalid port, which may be part of a password
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{setting} is not an http address", "write one that begins with https://")
    return user, name


def _name(name: str, params: IngestParams) -> str:
    """The local file name: the address's if its suffix names a format, else by the log's format."""
    try:
        read.form(name, params)
    except UserError:
        return f"rows.{params.format}"
    return name


def _silent(done: int, total: int | None) -> None:
    pass
