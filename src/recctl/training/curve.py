"""The training curve as a table and as a picture."""

import csv
from pathlib import Path

from recctl import drawing
from recctl.files import replacing
from recctl.training.progress import Epoch

_COLUMNS = ("epoch", "loss", "ndcg@10", "learning_rate")


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
