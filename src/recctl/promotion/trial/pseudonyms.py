"""Names of users in evidence: keyed hashes, which only the project that holds the key can link.

The key is in `.recctl/`, so neither git nor MLflow has it. A decision's digest is taken of
pseudonyms, not of ids. Evidence of older decisions holds the ids themselves.
"""

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path

from recctl.files import sync
from recctl.layout import Layout

KEY = "pseudonyms.key"
"""Below .recctl/, readable by its owner only."""


def key(layout: Layout) -> bytes:
    """The project's key, made at the first call; two processes get the same one."""
    path = layout.state / KEY
    if not path.is_file():
        layout.state.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=layout.state, prefix=f".{KEY}.") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            sync(Path(file.name))
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
        sync(layout.state)
    return path.read_bytes()


def keys(layout: Layout) -> list[bytes]:
    """The key of the project and those of its backfills, as far as they exist."""
    places = [layout.state, *layout.state.glob("backfill/*/.recctl")]
    return [path.read_bytes() for place in places if (path := place / KEY).is_file()]


def of(key: bytes, users: Iterable[str]) -> list[str]:
    """HMAC-SHA256 of each user's id, in hex, cut to 128 bits."""
    return [hmac.digest(key, user.encode(), "sha256").hex()[:32] for user in users]


def name(key: bytes) -> str:
    """By what evidence says which key its pseudonyms were made with."""
    return hashlib.sha256(key).hexdigest()[:16]
