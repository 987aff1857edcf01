"""What a figure among 100 popular negatives depends on besides the model's quality.

    python benchmarks/sampled_protocols.py PROJECT [--cases validation] [--discount 0 0.1 0.3]

PROJECT is a folder where `dvc repro` has run. The model is ranked unchanged, and with
`discount x log(training count)` subtracted from every item's score, in three protocols: the whole
catalogue; 100 negatives drawn by popularity from what the user has not seen, as the code of Sun et
al. (2019) draws them; and 100 drawn from everything but the target, of which those that the user
has seen are then filtered, as asash/bert4rec_repro and blondered/bert4rec_repro do.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from recctl.devices import pick, prepare
from recctl.evaluation import metrics
from recctl.evaluation.beyond_accuracy import beyond_accuracy
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.protocols import sampled_negatives
from recctl.evaluation.ranking import rank_cases
from recctl.layout import Layout
from recctl.models import BASELINES, load_model
from recctl.models.base import Scorer
from recctl.models.popularity import Popularity
from recctl.sequences.store import Cases, Histories, SequenceData

DISCOUNTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
PROTOCOL = "sampled-popularity-100"


class Discounted:
    """A model whose scores are lower the more popular an item is."""

    def __init__(self, model: Scorer, penalty: torch.Tensor):
        """`penalty` (n_items,) is taken off every row of scores."""
        self._model, self._penalty = model, penalty

    @property
    def n_items(self) -> int:
        """See `Scorer`."""
        return self._model.n_items

    def score(self, histories: Histories) -> torch.Tensor:
        """See `Scorer`."""
        return self._model.score(histories) - self._penalty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--model", type=Path, help="a model's folder; left out: artifacts/model")
    parser.add_argument("--cases", choices=("validation", "test"), default="validation")
    parser.add_argument("--discount", type=float, nargs="+", default=DISCOUNTS)
    options = parser.parse_args()
    layout = Layout(options.project.resolve())
    device = pick()
    prepare(device)
    data = SequenceData.load(layout.sequences)
    model = load_model(options.model or layout.model, device)
    cases = data.cases(options.cases)
    counts = np.array(data.vocabulary.counts, np.int64)
    logs = torch.from_numpy(np.log(counts)).float().to(device)
    unfiltered = Cases(cases.users, Histories.of([[]] * len(cases)), cases.targets)
    negatives = {
        name: sampled_negatives(whose, counts, EvaluateParams())[PROTOCOL]
        for name, whose in (("unseen", cases), ("any", unfiltered))
    }
    table = Table(
        title=f"{model.kind}, {len(cases):,} {options.cases} cases: HR@10 / NDCG@10",
        title_justify="left",
    )
    headings = (
        "discount",
        "whole catalogue",
        "100 popular, unseen",
        "100 popular, any",
        "coverage",
    )
    for heading in (*headings, "popularity bias"):
        table.add_column(heading, justify="left" if heading == "discount" else "right")
    rows: list[tuple[str, Scorer]] = [
        (f"{discount:g}", Discounted(model, discount * logs)) for discount in options.discount
    ]
    rows.append((Popularity.kind, BASELINES[Popularity.kind].fit(data.train(), len(counts))))
    for name, scorer in rows:
        ranks = rank_cases(scorer, cases, negatives=negatives, top=10)
        assert ranks.top is not None
        beyond = beyond_accuracy(ranks.top, cases.histories, counts)
        means = [
            metrics.means(["hr@10", "ndcg@10"], one, len(counts))
            for one in (ranks.full, ranks.sampled["unseen"], ranks.sampled["any"])
        ]
        table.add_row(
            name,
            *(f"{one['hr@10']:.4f} / {one['ndcg@10']:.4f}" for one in means),
            f"{beyond['coverage']:.3f}", f"{beyond['popularity_bias']:.3f}",
        )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
