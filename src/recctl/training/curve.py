"""The training curve as a CSV file and a plot, and whether it was still rising at its end."""

import csv
from collections.abc import Sequence
from pathlib import Path

from recctl.files import replacing
from recctl.render import drawing
from recctl.training.progress import Epoch

_COLUMNS = ("epoch", "loss", "ndcg@10", "learning_rate")
_SHARE = 3
"""The end of a curve is its last third, in which the learning rate is constant."""
_FEWEST = 4
"""The fewest validations at the end of a curve."""
RISE = 0.01
"""A curve rises if the later half of its end is higher than the earlier by more than this."""

Validation = tuple[int, float]
"""An epoch and its NDCG@10."""


def end(validations: Sequence[Validation]) -> list[Validation]:
    """The last third of a curve's validations, by which it is judged whether it still rises."""
    return list(validations[-max(_FEWEST, -(-len(validations) // _SHARE)) :])


def halves(end: Sequence[Validation]) -> tuple[float, float]:
    """The mean NDCG@10 of the earlier and of the later half of a curve's end, two at least.

    >>> halves([(7, 0.1), (8, 0.3), (9, 0.3), (10, 0.5)])
    (0.2, 0.4)
    """
    half = len(end) // 2
    earlier, later = [value for _, value in end[:half]], [value for _, value in end[half:]]
    return sum(earlier) / len(earlier), sum(later) / len(later)


def still_rises(end: Sequence[Validation], best_epoch: int) -> bool:
    """Whether validation was still improving when a training reached its last allowed epoch.

    True where the best epoch is in the later half of the curve's end and the mean of that half is
    more than 1% above that of the earlier one, and for a single validation.

    >>> still_rises([(7, 0.20), (8, 0.21), (9, 0.22), (10, 0.219)], best_epoch=9)
    True
    >>> still_rises([(7, 0.22), (8, 0.219), (9, 0.221), (10, 0.22)], best_epoch=9)
    False
    """
    if len(end) < 2:
        return True
    earlier, later = halves(end)
    return best_epoch >= end[len(end) // 2][0] and later > earlier * (1 + RISE)


def write_csv(curve: list[Epoch], path: Path) -> None:
    """One row per epoch; ndcg@10 is empty where it was not computed."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for row in curve:
            ndcg = "" if row.ndcg is None else f"{row.ndcg:.6f}"
            writer.writerow([row.epoch, f"{row.loss:.6f}", ndcg, f"{row.learning_rate:.3e}"])


def write_png(curve: list[Epoch], best_epoch: int, path: Path) -> None:
    """Loss and validation NDCG@10 over the epochs, the best epoch marked."""
    from matplotlib.figure import Figure

    with drawing.styled(axes_titleweight="normal", axes_titlelocation="center"):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([row.epoch for row in curve], [row.loss for row in curve], color="#4C6A92")
        left.set(title="Training loss", xlabel="epoch")
        seen = [(row.epoch, row.ndcg) for row in curve if row.ndcg is not None]
        right.plot([x for x, _ in seen], [y for _, y in seen], color="#4C6A92", marker=".")
        for x, y in seen:
            if x == best_epoch:
                right.plot(x, y, marker="o", color="#D1495B", linestyle="none")
                right.text(0.97, 0.06, f"best: {y:.4f} at epoch {x}", transform=right.transAxes,
                           ha="right", color="#D1495B")  # fmt: skip
        right.set(title="NDCG@10, full ranking (validation)", xlabel="epoch")
        drawing.save(figure, path)
