"""Popularity against the figures that the BERT4Rec paper gives for it."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from recctl.evaluation.metrics import means
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.protocols import sampled_negatives
from recctl.evaluation.ranking import rank_cases
from recctl.models.popularity import Popularity
from recctl.sequences.store import Cases, Histories


def leave_one_out(path):
    """Training sequences and test cases of `user item` lines, users together and in order."""
    with gzip.open(path, "rt") as file:
        users, items = np.loadtxt(file, dtype=np.int64).T
    _, counts = np.unique(users, return_counts=True)
    _, items = np.unique(items, return_inverse=True)
    ends = np.cumsum(counts)
    items = items.astype(np.int32)
    train = Histories(items, ends - counts, ends - 2)
    histories = Histories(items, ends - counts, ends - 1)
    return train, Cases(np.arange(len(counts)), histories, items[ends - 1])


@pytest.mark.realdata
def test_popularity_on_movielens_1m_is_the_papers():
    folder = os.environ.get("RECCTL_REAL_DATA")
    if folder is None or not (Path(folder) / "ml-1m.txt.gz").is_file():
        pytest.skip("RECCTL_REAL_DATA does not name a folder that holds ml-1m.txt.gz")
    train, cases = leave_one_out(Path(folder) / "ml-1m.txt.gz")
    n_items = int(cases.histories.items.max()) + 1
    counts = np.bincount(train.flat()[1], minlength=n_items)
    negatives = sampled_negatives(cases, np.maximum(counts, 1), EvaluateParams())
    ranks = rank_cases(Popularity.fit(train, n_items), cases, negatives=negatives)
    found = means(["hr@10", "ndcg@10"], ranks.sampled["sampled-popularity-100"], n_items)
    # Table 2 of the paper; the standard error over users is .0044 and .0022
    assert found["hr@10"] == pytest.approx(0.1358, abs=0.009)
    assert found["ndcg@10"] == pytest.approx(0.0621, abs=0.0045)
