"""A tiny training whose every detail is fixed: each of 120 users likes one of 6 genres."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recctl.evaluation.metrics import means
from recctl.evaluation.ranking import rank_cases
from recctl.models.base import Recommender
from recctl.render.console import Console
from recctl.sequences.store import Cases, Histories
from recctl.training.checkpoint import Checkpoint
from recctl.training.fit import fit
from recctl.training.loop import Fit
from recctl.training.params import Bert4RecParams, TrainParams

CPU = torch.device("cpu")
GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
"""Marks of a test that needs one; `make test-gpu` runs them."""
N_ITEMS = 24
USERS = 120
PARAMS = TrainParams(
    cuda_graphs=True,
    max_epochs=8,
    patience=8,
    batch_size=8,
    learning_rate=1e-2,
    warmup_steps=5,
    bert4rec=Bert4RecParams(
        max_length=10,
        hidden_size=16,
        dropout=0.2,
        rotary=False,
        mask_probability=0.3,
        last_item_share=0.1,
    ),
)


def sequences() -> tuple[Histories, Cases]:
    """Training sequences of 4 to 14 items of the user's genre, now and then one of another."""
    rng = np.random.default_rng(0)
    walks = []
    for _ in range(USERS):
        length, genre = rng.integers(6, 17), rng.integers(6)
        items = 4 * genre + rng.integers(4, size=length)
        astray = rng.random(length) < 0.1
        walks.append(np.where(astray, rng.integers(N_ITEMS, size=length), items).tolist())
    train = Histories.of([walk[:-2] for walk in walks])
    targets = np.array([walk[-2] for walk in walks], np.int32)
    return train, Cases(np.arange(USERS), train, targets)


def train(
    folder: Path,
    params: TrainParams = PARAMS,
    fingerprint: str = "f" * 64,
    device: torch.device = CPU,
) -> Fit:
    """Run it, with its checkpoint in `folder`."""
    torch.set_num_threads(1)
    data, cases = sequences()

    def validate(model: Recommender) -> float:
        ranks = rank_cases(model, cases, filter_seen=False).full
        return means(["ndcg@10"], ranks, N_ITEMS)["ndcg@10"]

    return fit(
        data,
        N_ITEMS,
        params,
        device,
        validate=validate,
        checkpoint=Checkpoint(folder, fingerprint),
        console=Console(quiet=True),
    )
