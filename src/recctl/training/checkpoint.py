"""Checkpoints of an unfinished training: whole or absent, used only for the same training."""

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
"""Training time that is lost when the process is killed."""

_KEPT_ASIDE = 3
_SEAL = hashlib.sha256().digest_size


def training_fingerprint(*parts: str) -> str:
    """The sha256 of all that determines the weights: the parts, torch's version and our code.

    The whole package counts as code: the ranking of the validation targets matters, too.
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
    """The checkpoint of the training with one fingerprint, in a folder with other checkpoints.

    The file's name carries the fingerprint, so that a checkpoint of other params, data or code is
    never opened. It is kept, and used when its training is resumed.
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
        """Whether it is time to write again; saving takes at most a twentieth of the time."""
        wait = max(EVERY_SECONDS, 20 * self._cost) if EVERY_SECONDS else 0.0
        return time.monotonic() - self._saved_at >= wait

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; if the process is killed, the former one stays."""
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
        """The state to resume from, None where there is none; UserError when it is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        seal, payload = content[:_SEAL], content[_SEAL:]
        if hashlib.sha256(payload).digest() != seal:
            raise self._damaged("its content does not match its digest")
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

        Deletes all but the newest few, and files that a killed process left half written.
        """
        for partial in self.folder.glob(".*.pt"):
            partial.unlink(missing_ok=True)
        others = [path for path in self.folder.glob("*.pt") if path != self.path]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[_KEPT_ASIDE:]:
            old.unlink(missing_ok=True)
        return others[:_KEPT_ASIDE]
