"""What holds for every network; small enough to try all of its inputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recctl.models import NEURAL, load_model
from recctl.models.base import save_model
from recctl.models.encoder import Neural, model_input
from recctl.sequences.next_item import next_item_batch
from recctl.sequences.store import Histories
from recctl.training.params import TrainParams

N_ITEMS = 30
LENGTH = 8
CAUSAL = [kind for kind, model in NEURAL.items() if model.network.causal]


def build(kind: str) -> Neural:
    small = {"max_length": LENGTH, "hidden_size": 12}
    params = TrainParams.model_validate({"model": kind, kind: small})
    encoder = NEURAL[kind].network(N_ITEMS, **params.network().shape())
    encoder.initialise(torch.Generator().manual_seed(0))
    return NEURAL[kind](encoder.eval())


@pytest.fixture(params=list(NEURAL))
def model(request: pytest.FixtureRequest) -> Neural:
    return build(request.param)


def test_a_batch_scores_as_its_rows_do_alone(model: Neural) -> None:
    lists = [[1, 2, 3], [4], [], [5, 6, 7, 8, 9, 10, 11, 12, 13]]
    together = model.score(Histories.of(lists))
    assert together.shape == (4, N_ITEMS)
    for row, one in enumerate(lists):
        torch.testing.assert_close(together[row], model.score(Histories.of([one]))[0])


def test_only_the_last_items_count(model: Neural) -> None:
    long = list(range(20))
    a, b = model.score(Histories.of([long])), model.score(Histories.of([long[-LENGTH + 1 :]]))
    assert torch.equal(a, b)  # seven items, and the token beside them


def test_the_order_of_the_history_counts(model: Neural) -> None:
    a, b = model.score(Histories.of([[1, 2, 3]])), model.score(Histories.of([[3, 2, 1]]))
    assert not torch.allclose(a, b)


def test_it_comes_back_from_its_folder(model: Neural, tmp_path: Path) -> None:
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, torch.device("cpu"))
    histories = Histories.of([[1, 2, 3], []])
    assert torch.equal(loaded.score(histories), model.score(histories))
    assert loaded.settings() == model.settings()


@pytest.mark.parametrize("kind", CAUSAL)
def test_what_comes_later_does_not_count(kind: str) -> None:
    encoder = build(kind).encoder
    tokens = torch.tensor([[31, 1, 2, 3, 4, 5]])
    other = tokens.clone()
    other[0, 4:] = torch.tensor([9, 30])
    a, b = encoder(tokens, None, None), encoder(other, None, None)
    torch.testing.assert_close(a[:, :4], b[:, :4])
    assert not torch.allclose(a[:, 4:], b[:, 4:])


@pytest.mark.parametrize("kind", CAUSAL)
def test_training_sees_what_serving_scores(kind: str) -> None:
    """The vector that is trained to tell an item is the one that scores what follows it."""
    model = build(kind)
    lists = [[4, 2, 9, 1], [7, 7]]
    histories = Histories.of(lists)
    batch = next_item_batch(
        torch.from_numpy(np.array(histories.items)),
        torch.from_numpy(histories.starts),
        torch.from_numpy(histories.lengths),
        longest=4,
        shortest=2,
        total=6,
        pad=model.encoder.pad,
        first=model.encoder.special,
    )
    hidden = model.encoder(batch.tokens, batch.real, batch.at).flatten(0, 1)[batch.chosen]
    trained = hidden @ model.encoder.catalogue().T + model.encoder.item_bias
    before = [one[:end] for one in lists for end in range(len(one))]
    torch.testing.assert_close(trained, model.score(Histories.of(before)))
    assert batch.targets.tolist() == [4, 2, 9, 1, 7, 7]


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_causal_input_begins_with_its_own_token(kind: str) -> None:
    encoder = build(kind).encoder
    tokens, real, last = model_input(encoder, Histories.of([[1, 2, 3], [], list(range(20))]))
    assert tokens.tolist() == [
        [31, 1, 2, 3, 30, 30, 30, 30],
        [31, 30, 30, 30, 30, 30, 30, 30],
        [31, *range(13, 20)],
    ]
    assert real.sum(1).tolist() == [4, 1, 8]
    assert last.tolist() == [3, 0, 7]


def test_caser_by_hand() -> None:
    """A window of two: filters of height one and two, and one weighted sum, at every position."""
    from recctl.models.caser import Convolutions

    network = Convolutions(3, 4, hidden_size=1, window=2, horizontal=1, vertical=1, dropout=0.0)
    network.item.weight.data = torch.tensor([[1.0], [2.0], [-3.0], [0.0], [5.0]])
    for conv, kernel in zip(
        [*network.across, network.down], ([2.0], [1.0, 1.0], [3.0, 1.0]), strict=True
    ):
        conv.weight.data = torch.tensor(kernel).reshape(conv.weight.shape)
        conv.bias.data.zero_()
    seen = []
    network.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(torch.tensor([[4, 0, 2]]), None, None)  # 5, 1, -3 after a zero
    assert seen[0].tolist() == [
        # the larger of 2 x; relu of the sum; 3 before + now
        [[10.0, 5.0, 5.0], [10.0, 6.0, 16.0], [2.0, 0.0, 0.0]]
    ]
