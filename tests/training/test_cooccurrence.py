"""Item vectors from counts: against a plain loop, and what they are for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recctl.models import NEURAL
from recctl.models.encoder import SequenceEncoder
from recctl.sequences.store import Histories
from recctl.training import cooccurrence
from recctl.training.params import TrainParams

N_ITEMS = 7
histories = st.lists(
    st.lists(st.integers(0, N_ITEMS - 1), min_size=0, max_size=9), min_size=1, max_size=8
)


def plain(lists: list[list[int]]) -> NDArray[np.float64]:
    """Positive pointwise mutual information by a loop over pairs."""
    counts = np.zeros((N_ITEMS, N_ITEMS))
    for items in lists:
        for i, left in enumerate(items):
            for j, right in enumerate(items):
                if 0 < abs(i - j) <= cooccurrence.WINDOW:
                    counts[left, right] += 1 / abs(i - j)
    weight = counts.sum(1)
    total = sum(value**0.75 for value in weight)
    information = np.zeros_like(counts)
    for left, right in zip(*np.nonzero(counts), strict=True):
        share = weight[right] ** 0.75 / max(total, 1.0)
        ratio = counts[left, right] / (weight[left] * share)
        information[left, right] = max(0.0, math.log(ratio))
    return information


@given(lists=histories)
def test_mutual_information_is_that_of_a_plain_loop(lists: list[list[int]]) -> None:
    found = cooccurrence.mutual_information(Histories.of(lists), N_ITEMS).toarray()
    assert found == pytest.approx(plain(lists), abs=1e-4)


@pytest.mark.parametrize("pairs", [1, 300])
def test_counting_in_blocks_changes_no_bit(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    rng = np.random.default_rng(4)
    lists = [rng.zipf(1.4, size) % N_ITEMS for size in rng.integers(1, 40, 60)]
    whole = cooccurrence.mutual_information(Histories.of(lists), N_ITEMS)
    monkeypatch.setattr(cooccurrence, "_PAIRS", pairs)
    found = cooccurrence.mutual_information(Histories.of(lists), N_ITEMS)
    assert found.nnz == whole.nnz > 0
    assert np.array_equal(found.toarray(), whole.toarray())


@pytest.fixture
def encoder() -> SequenceEncoder:
    """A new network over 21 items, with vectors of four numbers."""
    shape = TrainParams(bert4rec={"hidden_size": 4, "max_length": 8}).bert4rec
    made = NEURAL["bert4rec"].build(21, shape)
    made.initialise(torch.Generator().manual_seed(0))
    return made


def two_worlds(seed: int = 0) -> Histories:
    """Users of two kinds, with ten items each."""
    rng = np.random.default_rng(seed)
    return Histories.of([[*(rng.permutation(10)[:6] + 10 * (user % 2))] for user in range(200)])


def test_items_that_share_users_get_close_vectors() -> None:
    vectors = cooccurrence.cooccurrence_vectors(two_worlds(), 20, 4)
    assert vectors is not None
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    cosine = unit @ unit.T
    same = torch.arange(20)[:, None] // 10 == torch.arange(20) // 10
    assert cosine[same].mean() > 0.8
    assert cosine[~same].mean() < 0.2


def test_an_item_without_a_pair_keeps_its_random_vector(encoder: SequenceEncoder) -> None:
    drawn = encoder.item.weight.detach().clone()
    cooccurrence.begin(encoder, two_worlds())
    assert torch.equal(encoder.item.weight[20:], drawn[20:])  # an unseen item, and two tokens
    assert not torch.isclose(encoder.item.weight[:20], drawn[:20]).any(dim=1).all()


def test_biases_begin_as_log_popularity(encoder: SequenceEncoder) -> None:
    cooccurrence.begin(encoder, Histories.of([[0, 0, 0], [1], [2, 3]]))
    bias = encoder.item_bias
    assert bias.mean().item() == pytest.approx(0, abs=1e-6)
    assert (bias[0] - bias[4]).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("lists", [[[0]], [[0, 1]], [[], []], [[0, 1, 0, 1]]])
def test_too_few_pairs_leave_random_vectors(
    encoder: SequenceEncoder, lists: list[list[int]]
) -> None:
    drawn = encoder.item.weight.detach().clone()
    cooccurrence.begin(encoder, Histories.of(lists))
    assert torch.equal(encoder.item.weight, drawn)


@pytest.mark.parametrize(("most", "kept"), [(100, 3), (6, 3), (5, 2), (3, 2), (2, 1), (1, 1)])
def test_the_last_sequences_are_counted(
    monkeypatch: pytest.MonkeyPatch, most: int, kept: int
) -> None:
    monkeypatch.setattr(cooccurrence, "MOST", most)
    counted = cooccurrence.latest(Histories.of([[0, 1, 2], [3], [4, 5]]))
    assert [list(row) for row in counted] == [[0, 1, 2], [3], [4, 5]][3 - kept :]
