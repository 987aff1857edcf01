"""The Markov chain, worked out by hand."""

import pytest
import torch
from safetensors.torch import save_file

from recctl.errors import UserError
from recctl.models import load_model
from recctl.models.base import load_tensors, read_settings, save_model
from recctl.models.markov import Markov
from recctl.sequences.store import Histories

# 0 -> 1 twice, 0 -> 2 once, 1 -> 0 once; shares 3/8, 3/8, 2/8, 0
TRAIN = Histories.of([[0, 1, 0, 1], [0, 2], [2], [1]])
SHARE = [3 / 8, 3 / 8, 2 / 8, 0]


def test_transitions_from_the_last_item_smoothed_by_popularity():
    model = Markov.fit(TRAIN, 4, smoothing=2.0)
    expected = [
        (count + 2 * share) / (3 + 2) for count, share in zip([0, 2, 1, 0], SHARE, strict=True)
    ]
    assert model.score(Histories.of([[2, 1, 0]]))[0].tolist() == pytest.approx(expected)


def test_nothing_to_go_by_is_popularity():
    scores = Markov.fit(TRAIN, 4).score(Histories.of([[], [2], [3]]))
    for row in scores:  # an empty history, and items that nothing ever followed
        assert row.tolist() == pytest.approx(SHARE)


def test_scores_are_probabilities():
    scores = Markov.fit(TRAIN, 4).score(Histories.of([[0], [1], []]))
    assert scores.sum(1).tolist() == pytest.approx([1, 1, 1])


def test_histories_do_not_run_into_each_other():
    """The end of one user and the start of the next is no transition: 1 -> 0 stays at one."""
    assert Markov.fit(TRAIN, 4).transitions.toarray().tolist() == [
        [0, 2, 1, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_it_comes_back_from_its_folder(tmp_path):
    model = Markov.fit(TRAIN, 4, smoothing=3.0)
    save_model(model, tmp_path)
    settings = read_settings(tmp_path)["settings"]
    again = Markov.restore(
        settings, load_tensors(tmp_path / "model.safetensors"), torch.device("cpu")
    )
    some = Histories.of([[0], [], [1, 2]])
    assert torch.equal(again.score(some), model.score(some))
    assert again.smoothing == 3.0


@pytest.mark.parametrize("damage", ["share", "indptr", "indices"])
def test_arrays_that_misfit_are_refused_in_one_line(tmp_path, damage):
    save_model(Markov.fit(TRAIN, 4), tmp_path)
    tensors = load_tensors(tmp_path / "model.safetensors")
    tensors[damage] = tensors[damage] + 99 if damage == "indices" else tensors[damage][:-1]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"does not fit model\.json in that folder"):
        load_model(tmp_path, torch.device("cpu"))
