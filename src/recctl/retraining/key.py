"""The key of a retraining: which data, settings and code; each key is processed once."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import recctl
from recctl.config import STAGES, read_params
from recctl.data import versions
from recctl.errors import UserError
from recctl.layout import Layout

_SETTINGS = (*STAGES, "promotion")
"""Sections by which a model is trained and judged; the others say when, and what is published."""


@dataclass(frozen=True)
class Key:
    """What a retraining starts from, by digests in hex."""

    data: str
    """As data.dvc names it."""
    params: str
    code: str
    """recctl's own source and dvc.yaml."""

    @property
    def digest(self) -> str:
        """All three as one."""
        return hashlib.sha256("\n".join((self.data, self.params, self.code)).encode()).hexdigest()


def of(layout: Layout) -> Key:
    """The key of the project as it is now.

    Raises UserError when DVC holds no data or params.yaml cannot be read.
    """
    data = versions.digest(layout)
    if data is None:
        raise UserError(f"no {layout.root / 'data.dvc'}", "take data in: 'recctl data use'")
    return Key(data, _params(layout), _code(layout))


def _params(layout: Layout) -> str:
    document = read_params(layout.params)
    judged = {name: document.get(name) for name in _SETTINGS}
    return hashlib.sha256(json.dumps(judged, sort_keys=True, default=str).encode()).hexdigest()


def _code(layout: Layout) -> str:
    package = Path(recctl.__file__).parent
    sha = hashlib.sha256((layout.root / "dvc.yaml").read_bytes())
    for path in sorted(package.rglob("*.py")):
        sha.update(f"\0{path.relative_to(package).as_posix()}\0".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()
