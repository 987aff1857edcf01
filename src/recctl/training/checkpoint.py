"""Checkpoints of an unfinished training: whole or absent, and used only where they fit."""

import hashlib
import pickle
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recctl.errors import UserError
from recctl.files import replacing

EVERY_SECONDS = 20.0
"""Training time that a kill can cost."""

_KEPT_ASIDE = 3
_SOURCES = ("models", "sequences", "training")


def training_fingerprint(*parts: str) -> str:
    """The sha256 of all that decides the weights: the parts given (params, data) and our code."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(hashlib.sha256(part.encode()).digest())
    package = Path(__file__).parent.parent
    for folder in _SOURCES:
        for source in sorted((package / folder).glob("*.py")):
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

    @property
    def path(self) -> Path:
        return self.folder / f"{self.fingerprint[:16]}.pt"

    def due(self) -> bool:
        """Whether enough time has passed to write again."""
        return time.monotonic() - self._saved_at >= EVERY_SECONDS

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; killed in the middle, the former one stays."""
        with replacing(self.path) as temporary:
            torch.save({"fingerprint": self.fingerprint, **state}, temporary)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, None where there is none; UserError when it is damaged."""
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise self._damaged(reason) from None
        if not isinstance(state, dict) or state.get("fingerprint") != self.fingerprint:
            raise self._damaged("its content does not fit its name")
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

    def discard(self) -> None:
        """Remove the checkpoint of a training that is finished and kept."""
        self.path.unlink(missing_ok=True)
