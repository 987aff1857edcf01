"""An address that is fetched anew each time."""

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
    """Bring what the address holds now into `folder`; a fetch that broke off is gone on with.

    Raises MayPass when it cannot be reached, Gone when it answers that there is no such thing,
    Unknown when it refuses.
    """
    setting = f"the address of source '{source.name}'"
    address = secrets.resolved(source.address, setting)
    secrets.require_open(source.address, setting, redact(address) != address)
    secrets.require_unsigned(source.address, setting)
    user, name = _parts(address, setting)
    target = folder / _name(name, params)
    target.unlink(missing_ok=True)  # of an intake that was killed: there may be more by now

    def hidden(text: str) -> str:
        # an address that params.yaml does not show is not shown: its path may be the secret
        return secrets.hidden(text.replace(address, source.address), user)

    try:
        return download(address, target, progress=_silent, say=lambda text: say(hidden(text)))
    except UserError as error:
        fix = "it is tried again next time" if isinstance(error, MayPass) else "correct its address"
        if type(error) is Unknown:
            fix = "give access to it, or correct its address"
        what = f"source '{source.name}': {hidden(error.what)}"
        raise type_of(error)(what, fix) from None


def _parts(address: str, setting: str) -> tuple[str | None, str]:
    """User and password in an address as they stand there, and its last part."""
    try:
        parts = urlsplit(address)
        user, name = parts.netloc.rpartition("@")[0] or None, Path(unquote(parts.path)).name
        _ = parts.port
    except ValueError:  # also of a port that is none: it may be the half of a password
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{setting} is no http address", "write one that begins with https://")
    return user, name


def _name(name: str, params: IngestParams) -> str:
    """What the file is called here: as there if that tells its format, else after the log's."""
    try:
        read.form(name, params)
    except UserError:
        return f"rows.{params.format}"
    return name


def _silent(done: int, total: int | None) -> None:
    pass
