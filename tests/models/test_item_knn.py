"""ItemKNN, worked out by hand and against dense cosines."""

from math import sqrt

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from recctl.models.base import load_tensors, read_settings, save_model
from recctl.models.item_knn import ItemKNN
from recctl.sequences.store import Histories

# users of item 0: a b; of 1: a b c; of 2: c; of 3: none. Repeats count once.
TRAIN = Histories.of([[0, 1, 0], [1, 0], [2, 1]])
COSINES = np.array(
    [
        [0, 2 / sqrt(2 * 3), 0, 0],
        [2 / sqrt(2 * 3), 0, 1 / sqrt(3), 0],
        [0, 1 / sqrt(3), 0, 0],
        [0, 0, 0, 0],
    ]
)


def test_scores_are_cosines_summed_over_the_history():
    scores = ItemKNN.fit(TRAIN, 4, neighbours=3).score(Histories.of([[0], [0, 2], [2, 2]]))
    expected = [COSINES[0], COSINES[0] + COSINES[2], COSINES[2]]
    assert scores.numpy() == pytest.approx(np.array(expected), abs=2e-6)


def test_only_the_nearest_neighbours_are_kept():
    similarity = ItemKNN.fit(TRAIN, 4, neighbours=1).similarity.toarray()
    nearest = COSINES * [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert similarity == pytest.approx(nearest, abs=1e-6)


def test_what_has_no_neighbour_follows_by_popularity():
    scores = ItemKNN.fit(TRAIN, 4).score(Histories.of([[], [3]]))
    for row in scores:
        assert row.argsort(descending=True, stable=True).tolist() == [0, 1, 2, 3]
        assert row.max() < 1e-5


def test_agrees_with_dense_cosines():
    rng = np.random.default_rng(0)
    train = [rng.integers(0, 30, rng.integers(1, 15)).tolist() for _ in range(200)]
    seen = np.zeros((200, 30))
    for row, items in enumerate(train):
        seen[row, items] = 1
    dense = cosine_similarity(seen.T)
    np.fill_diagonal(dense, 0)
    model = ItemKNN.fit(Histories.of(train), 30, neighbours=29)
    assert model.similarity.toarray() == pytest.approx(dense, abs=1e-5)


@pytest.mark.parametrize("n_items", [1, 2])
def test_the_smallest_catalogues_work(n_items):
    model = ItemKNN.fit(Histories.of([[0], [n_items - 1]]), n_items)
    assert model.score(Histories.of([[0], []])).shape == (2, n_items)


def test_it_comes_back_from_its_folder(tmp_path):
    model = ItemKNN.fit(TRAIN, 4)
    save_model(model, tmp_path)
    settings = read_settings(tmp_path)["settings"]
    again = ItemKNN.restore(
        settings, load_tensors(tmp_path / "model.safetensors"), torch.device("cpu")
    )
    some = Histories.of([[0], [], [1, 2]])
    assert torch.equal(again.score(some), model.score(some))
