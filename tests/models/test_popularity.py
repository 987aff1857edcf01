"""Popularity, counted by hand."""

import torch

from recctl.models.base import load_tensors, read_settings, save_model
from recctl.models.popularity import Popularity
from recctl.sequences.store import Histories

TRAIN = Histories.of([[0, 1, 0], [0, 2], []])


def test_scores_are_training_counts_for_every_history():
    scores = Popularity.fit(TRAIN, 4).score(Histories.of([[1], []]))
    assert scores.tolist() == [[3, 1, 1, 0], [3, 1, 1, 0]]
    assert scores.dtype == torch.float32


def test_it_comes_back_from_its_folder(tmp_path):
    model = Popularity.fit(TRAIN, 4)
    save_model(model, tmp_path)
    settings = read_settings(tmp_path)["settings"]
    again = Popularity.restore(
        settings, load_tensors(tmp_path / "model.safetensors"), torch.device("cpu")
    )
    some = Histories.of([[2]])
    assert torch.equal(again.score(some), model.score(some))


def test_only_training_items_count():
    """Slices of a longer array: what lies between them is not training."""
    whole = Histories.of([[0, 0, 3], [1, 3]])
    train = Histories(whole.items, whole.starts, whole.ends - 1)
    assert Popularity.fit(train, 4).score(Histories.of([[]])).tolist() == [[2, 1, 0, 0]]
