"""Progress of a training: a bar on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from recctl.render.console import Console

_LINE_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Epoch:
    """One row of the training curve."""

    epoch: int
    loss: float
    learning_rate: float
    ndcg: float | None
    """Full-ranking NDCG@10 on the validation targets, None where it was not computed."""


class TrainingProgress:
    """Shows epochs, loss, validation NDCG@10, sequences per second and the time left."""

    def __init__(self, max_epochs: int, console: Console | None = None) -> None:
        self._console = console or Console()
        self._max_epochs = max_epochs
        self._last_line = 0.0
        self._bar = Progress(
            TextColumn("train", style="bold", markup=False),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("first epoch", total=max_epochs)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, soft_wrap=True)

    def step(self, done: int, total: int, epoch: int) -> None:
        """Count a batch: number `done` of `total` in the epoch."""
        self._bar.update(self._task, completed=epoch - 1 + done / total)

    def epoch(self, row: Epoch, best: tuple[int, float], rate: float, last: bool) -> None:
        """Show a finished epoch, the best one so far (epoch, NDCG@10) and the sequences/s."""
        text = self._text(row, *best) + f"  {rate:,.0f} sequences/s"
        self._bar.update(self._task, description=text, completed=row.epoch)
        now = time.monotonic()
        if not self._console.is_terminal and (last or now - self._last_line > _LINE_EVERY_SECONDS):
            self.say(f"train: {text}")
            self._last_line = now

    def _text(self, row: Epoch, best_epoch: int, best_ndcg: float) -> str:
        ndcg = "" if row.ndcg is None else f"  ndcg@10 {row.ndcg:.4f}"
        best = f" (best {best_ndcg:.4f} at {best_epoch})" if best_epoch else ""
        return f"epoch {row.epoch}/{self._max_epochs}  loss {row.loss:.4f}{ndcg}{best}"
