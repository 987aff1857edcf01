"""Validation NDCG@10 by epoch, with and without each technique that changes the result.

    python benchmarks/curves.py PROJECT [--epochs 20] [--set train.model=sasrec] [--variant ...]

PROJECT is a folder where `dvc repro sequence-split` has run; its params.yaml gives the settings. A
variant is 'name: key=value, ...' with keys of the train section. Without any: as params.yaml says,
from random item vectors, with averaged weights, and without last-item samples.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from recctl.devices import pick
from recctl.layout import Layout
from recctl.models import NEURAL
from recctl.sequences.store import SequenceData
from recctl.training.early_stopping import validation
from recctl.training.loop import Trainer, on_device
from recctl.training.params import TrainParams
from training import train_settings

VARIANTS = (
    "as it is:",
    "random item vectors: item_vectors=random",
    "averaged weights: average_epochs=2",
    "no last-item samples (bert4rec): bert4rec.last_item_share=0",
)
Points = list[tuple[int, float, float]]
"""Epoch, seconds of training so far, NDCG@10."""


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """The variant's name and settings."""
    name, _, rest = text.partition(":")
    pairs = [part.strip().split("=", 1) for part in rest.split(",") if part.strip()]
    return name, {key: YAML(typ="safe").load(value) for key, value in pairs}


def curve(name: str, data: SequenceData, params: TrainParams, every: int) -> Points:
    """Train to max_epochs, and print each validation."""
    trainer = Trainer(data.train(), data.vocabulary.size, params, pick(params.device))
    validate, points, seconds = validation(data, True), [], 0.0
    for epoch in range(1, params.max_epochs + 1):
        trainer.position.epoch, trainer.position.batch = epoch, 0
        began = time.perf_counter()
        plan = trainer.plan(epoch)
        rows = on_device(plan, trainer.device)
        losses = []
        while trainer.position.batch < len(plan):
            losses.append(trainer.train_batch(plan, rows))
        loss = float(torch.stack(losses).mean())  # waits for a GPU, so that the clock is right
        seconds += time.perf_counter() - began
        if epoch % every == 0 or epoch == params.max_epochs:
            points.append((epoch, seconds, validate(NEURAL[params.model](trainer.judged))))
            line = f"epoch {epoch}, {seconds:.0f} s, loss {loss:.4f}, NDCG@10 {points[-1][2]:.4f}"
            print(f"{name}: {line}", file=sys.stderr, flush=True)
    return points


def plot(found: dict[str, Points], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for name, points in found.items():
        epochs, seconds, ndcg = zip(*points, strict=True)
        axes[0].plot(epochs, ndcg, label=name)
        axes[1].plot(seconds, ndcg, label=name)
    axes[0].set(xlabel="epoch", ylabel="validation NDCG@10")
    axes[1].set(xlabel="seconds of training")
    axes[1].legend()
    for one in axes:
        one.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--every", type=int, default=2, help="epochs between validations")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", action="append", default=[], help="train.KEY=VALUE, for all")
    parser.add_argument("--variant", action="append", help="'name: key=value, ...'")
    parser.add_argument("--plot", type=Path, default=Path("curves.png"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    layout = Layout(given.project)
    data = SequenceData.load(layout.sequences)
    base = train_settings(given.set) | {"device": given.device, "max_epochs": given.epochs}
    found: dict[str, Points] = {}
    for text in given.variant or VARIANTS:
        name, settings = parsed(text)
        params = TrainParams.load(layout.params, {**base, **settings}).ranked(filter_seen=True)
        found[name] = curve(name, data, params, given.every)
        epoch, seconds, ndcg = found[name][-1]
        print(f"{name}: NDCG@10 {ndcg:.4f} after {epoch} epochs, {seconds:.0f} s", flush=True)
    table = Table(title=f"validation NDCG@10, {given.project.name}, seconds of training below")
    table.add_column("epoch", justify="right")
    for name, points in found.items():
        table.add_column(f"{name}\n{points[-1][1]:,.0f} s", justify="right")
    for line in zip(*found.values(), strict=True):
        table.add_row(str(line[0][0]), *(f"{ndcg:.4f}" for _, _, ndcg in line))
    Console().print(table)
    plot(found, given.plot)
    print(f"plot: {given.plot}")


if __name__ == "__main__":
    main()
