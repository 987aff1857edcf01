"""What the training scripts share: arguments, the rows, the time limit, scores, one JSON file."""

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from _measure import parsed
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

ROWS, SCORES, RESULT = "interactions.csv", "scores.npy", "result.json"
BLOCK = 512
"""Users scored at a time."""


def settings() -> argparse.Namespace:
    """The arguments that every script takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--project", type=Path, required=True, help="where our split is; it has ROWS"
    )
    parser.add_argument("--folder", type=Path, required=True, help="for SCORES and RESULT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, required=True, help="of training, at most")
    parser.add_argument("--threads", type=int, required=True)
    return parsed(parser)


def read(project: Path) -> "pd.DataFrame":
    """Rows of user_id, item_id (both from 0), timestamp (the place in the history), validation.

    Test targets are not among them; validation is True for the last row of each history. Every
    item of the catalogue is in the other rows.
    """
    import pandas as pd

    rows = pd.read_csv(project / ROWS)
    return rows.astype({"validation": bool})


class TimeOver(Exception):
    """The minutes are over."""


@dataclass
class Clock:
    """The time limit of a training, its validations included.

    It counts this process's processor time over its threads: on a quiet machine that is the time
    on the clock where all threads are busy, and other programs do not change it.
    """

    minutes: float
    began: float = field(default_factory=time.process_time)

    @property
    def spent(self) -> float:
        """Minutes since the training began."""
        return (time.process_time() - self.began) / torch.get_num_threads() / 60

    @property
    def over(self) -> bool:
        return self.spent >= self.minutes


class Limit:
    """The hooks of a Lightning callback that stops a training after some minutes.

    Lightning then validates the last weights as it does those of a whole epoch. It is in two
    packages, `lightning` and `pytorch_lightning`, so that scripts add the base class.
    """

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.epochs = 0.0

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        self.clock = Clock(self.minutes)

    def on_train_batch_end(self, trainer: Any, *batch: Any) -> None:
        if self.clock.over:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self.minutes = self.clock.spent
        self.epochs = trainer.global_step / trainer.num_training_batches


def scores(folder: Path, users: int, items: int) -> NDArray[np.float32]:
    """The file of scores, (users, items); rows that are not written are ties, which rank last."""
    shape = (int(users), int(items))  # NumPy 2 writes an np.int64 so that it cannot be read
    return np.lib.format.open_memmap(folder / SCORES, "w+", np.dtype(np.float32), shape)


def blocks(count: int) -> Iterator[slice]:
    """All of `count` users, BLOCK at a time."""
    for first in range(0, count, BLOCK):
        yield slice(first, min(first + BLOCK, count))


def lightning(limit: Limit, best: Any) -> dict[str, Any]:
    """The figures of a training whose ModelCheckpoint, of the file name {epoch}, is `best`."""
    (epoch,) = re.findall(r"epoch=(\d+)", Path(best.best_model_path).name)
    return {
        "minutes": limit.minutes,
        "epochs": limit.epochs,
        "best_epoch": int(epoch) + 1,
        "validation": f"{best.monitor} {float(best.best_model_score):.4f}",
    }


def report(given: argparse.Namespace, package: str, **figures: Any) -> None:
    """Write the training's figures: `minutes`, `epochs`, `best_epoch`, `validation` in words."""
    found = {"library": f"{package} {version(package)}", "model": given.model, **figures}
    (given.folder / RESULT).write_text(json.dumps(found))
