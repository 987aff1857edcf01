"""Checkpoints of an unfinished training: whole or absent, and used only where they fit."""

import hashlib
import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recctl.errors import UserError
from recctl.files import replacing

EVERY_SECONDS = 20.0
"""Training time that a kill can cost."""

_KEPT_ASIDE = 3
_SEAL = hashlib.sha256().digest_size


def training_fingerprint(*parts: str) -> str:
    """The sha256 of all that decides the weights: the parts given, torch's version and our code.

    All of the package counts as code: what ranks the validation targets decides as well.
    """
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(hashlib.sha256(part.encode()).digest())
    package = Path(__file__).parent.parent
    for source in sorted(package.rglob("*.py")):
        hasher.update(hashlib.sha256(source.read_bytes()).digest())
    hasher.update(torch.__version__.encode())
    return hasher.hexdigest()


@dataclass
class Checkpoint:
    """The checkpoint of the training with one fingerprint, in a folder that keeps others too.

    The file's name carries the fingerprint, so a checkpoint of other params, data or code is never
    even opened: it lies aside and serves again if its training is taken up again.
    """

    folder: Path
    fingerprint: str
    _saved_at: float = field(default_factory=time.monotonic)
    _cost: float = 0.0
    """Seconds that the last save took."""

    @property
    def path(self) -> Path:
        return self.folder / f"{self.fingerprint[:16]}.pt"

    def due(self) -> bool:
        """Whether enough time has passed to write again; saving takes a twentieth of it at most."""
        wait = max(EVERY_SECONDS, 20 * self._cost) if EVERY_SECONDS else 0.0
        return time.monotonic() - self._saved_at >= wait

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; killed in the middle, the former one stays."""
        began = time.monotonic()
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, **state}, buffer)
        content = buffer.getbuffer()
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(content).digest())
            file.write(content)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - began

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, None where there is none; UserError when it is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        seal, payload = content[:_SEAL], content[_SEAL:]
        if hashlib.sha256(payload).digest() != seal:
            raise self._damaged("its content does not fit its digest")
        file = io.BytesIO(payload)
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            raise self._damaged("it belongs to another training than its name says")
        return state

    def _damaged(self, reason: str) -> UserError:
        return UserError(
            f"checkpoint {self.path} is damaged ({reason})",
            "delete it and run again: training then starts from the beginning",
        )

    def aside(self) -> list[Path]:
        """Checkpoints of other trainings, newest first.

        All but the newest few are deleted, and so is what a kill left half written.
        """
        for partial in self.folder.glob(".*.pt"):
            partial.unlink(missing_ok=True)
        others = [path for path in self.folder.glob("*.pt") if path != self.path]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[_KEPT_ASIDE:]:
            old.unlink(missing_ok=True)
        return others[:_KEPT_ASIDE]
