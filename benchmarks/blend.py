"""What a blend brings: its network alone, each counted model, the blend, and variants of it.

    python benchmarks/blend.py PROJECT [PROJECT ...] [--set train.max_epochs=20] [--set ...]

PROJECT is a folder where `dvc repro sequence-split` has run; its params.yaml gives the settings,
and `train.blend.network` the network, whose training is resumed from a checkpoint where there is
one. The variants are fitted like the blend: z-scores of each part's scores over the catalogue in
place of logarithms, and the blend without one of its parts. Weights are fitted on validation
targets; the paired 95% interval is over the test users.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from recctl.evaluation.metrics import means, per_case
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.statistics import interval
from recctl.layout import Layout
from recctl.models.base import Recommender
from recctl.models.blend import Blend
from recctl.render.numbers import change, figure
from recctl.sequences.store import Histories, SequenceData
from recctl.training.blend import COUNTED, fit_blend
from recctl.training.checkpoint import Checkpoint
from recctl.training.early_stopping import validation, validation_cases
from recctl.training.fit import fingerprint
from recctl.training.launch import fit_project
from recctl.training.params import TrainParams
from training import train_settings


class Standardised(Recommender):
    """A part whose evidence are its scores less their mean, by their standard deviation."""

    def __init__(self, part: Recommender) -> None:
        self.kind, self.part, self.n_items = part.kind, part, part.n_items  # type: ignore[misc]

    def score(self, histories: Histories) -> torch.Tensor:
        scores = self.part.score(histories)
        deviation = scores.std(dim=1, keepdim=True).clamp(min=1e-9)
        return (scores - scores.mean(dim=1, keepdim=True)) / deviation

    def settings(self) -> dict[str, Any]:
        raise NotImplementedError

    def tensors(self) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    @classmethod
    def restore(cls, *given: Any) -> "Standardised":
        raise NotImplementedError


def variants(
    network: Recommender, data: SequenceData, filter_seen: bool
) -> Iterator[tuple[str, Recommender]]:
    """Rows of the table, the network first."""
    cases = validation_cases(data)
    parts = [network, *(one.fit(data.train(), network.n_items) for one in COUNTED)]
    for part in parts:
        yield part.kind, part
    blend = fit_blend(parts, cases, filter_seen=filter_seen)
    yield "blend", blend
    scores: list[Recommender] = [Standardised(part) for part in parts]
    yield "blend of z-scores", fit_blend(scores, cases, filter_seen=filter_seen)
    for left_out in blend.parts if len(blend.parts) > 2 else ():
        some = [part for part in parts if part.kind != left_out]
        yield f"blend without {left_out}", fit_blend(some, cases, filter_seen=filter_seen)


def table(name: str, network: Recommender, data: SequenceData, params: EvaluateParams) -> Table:
    """Ranks the validation and the test targets with every variant."""
    cases, n_items = data.cases("test"), network.n_items
    validate = validation(data, params.filter_seen)
    found = Table("", "val NDCG@10", "HR@10", "NDCG@10", "less the network", "weights",
                  title=f"{name}: {len(cases):,} test users, {n_items:,} items")  # fmt: skip
    alone = None
    for label, model in variants(network, data, params.filter_seen):
        ranks = rank_cases(model, cases, filter_seen=params.filter_seen).full
        test = means(["hr@10", "ndcg@10"], ranks, n_items)
        gains = per_case("ndcg@10", ranks, n_items)
        alone = gains if alone is None else alone
        rng = np.random.default_rng(params.seed)
        less = interval(gains - alone, params.bootstrap_resamples, rng)
        weights = model.weights if isinstance(model, Blend) else {}
        found.add_row(
            label, figure(validate(model)), figure(test["hr@10"]), figure(test["ndcg@10"]),
            "" if gains is alone else change(less.value, less.low, less.high),
            ", ".join(f"{part} {weight:.2f}" for part, weight in weights.items()),
        )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projects", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="train.KEY=VALUE")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for project in given.projects:
        layout = Layout(project.resolve())
        data, evaluate = SequenceData.load(layout.sequences), EvaluateParams.load(layout.params)
        train = TrainParams.load(layout.params, {"model": Blend.kind, **train_settings(given.set)})
        params = train.of_network().ranked(evaluate.filter_seen)
        key = fingerprint(params, data.fingerprint, evaluate.filter_seen)
        checkpoint = Checkpoint(layout.state / "checkpoints" / "benchmark", key)
        network = fit_project(data, params, evaluate.filter_seen, checkpoint).model
        Console(width=160).print(table(layout.root.name, network, data, evaluate))


if __name__ == "__main__":
    main()
