"""Popularity, counted by hand."""

import numpy as np
import pytest
import torch

from recctl.models.base import load_tensors, read_settings, save_model
from recctl.models.popularity import HALF_LIVES_DAYS, Popularity, RecentPopularity
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
    """Slices of a longer array: what is between them is not training."""
    whole = Histories.of([[0, 0, 3], [1, 3]])
    train = Histories(whole.items, whole.starts, whole.ends - 1)
    assert Popularity.fit(train, 4).score(Histories.of([[]])).tolist() == [[2, 1, 0, 0]]


DAY = 86_400 * 10**6


def recent(times: list[int] | None) -> list[float]:
    """Scores of three items taken as 0, 1, 0, 2, at these times in days."""
    train = Histories.of([[0, 1], [0, 2]])
    at = None if times is None else np.array(times, np.int64) * DAY
    train = Histories(train.items, train.starts, train.ends, at)
    model = RecentPopularity.fit(train, 4, half_life_days=10)
    scores: list[float] = model.score(Histories.of([[]]))[0].tolist()
    return scores


def test_an_interaction_counts_half_for_every_half_life_that_it_is_older():
    assert recent([100, 110, 80, 120]) == pytest.approx([0.25 + 0.0625, 0.5, 1, 0])


def test_what_is_long_ago_still_counts_a_little():
    zero, one, two, never = recent([-(10**5), -(10**5), -(10**5), 0])
    assert two == 1
    assert zero == pytest.approx(2 * one)
    assert one > never == 0


def test_without_times_it_is_popularity():
    assert recent(None) == [2, 1, 1, 0]


def test_the_half_life_is_the_one_that_validation_likes_best():
    train = Histories.of([[0, 1], [0, 2]])
    timed = Histories(train.items, train.starts, train.ends, np.array([0, 5, 9, 12]) * DAY)
    asked = []

    def validate(model: RecentPopularity) -> float:
        asked.append(model.half_life_days)
        return -abs(model.half_life_days - 10)

    found = RecentPopularity.best(timed, 3, validate)
    assert asked == [*HALF_LIVES_DAYS]
    assert found.half_life_days == 7
    wanted = RecentPopularity.fit(timed, 3, 7)
    assert found.counts.tolist() == wanted.counts.tolist()


def test_without_times_no_half_life_is_tried():
    found = RecentPopularity.best(Histories.of([[0, 1], [0]]), 2, validate=lambda model: 1 / 0)
    assert found.half_life_days is None
    assert found.counts.tolist() == [2, 1]
