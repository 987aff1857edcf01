"""What holds for every network; small enough to try all of its inputs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recctl.models import NEURAL, load_model, transformer
from recctl.models.base import SETTINGS, save_model
from recctl.models.encoder import Neural, model_input
from recctl.models.transformer import turned, turning
from recctl.sequences.batching import Sizes
from recctl.sequences.next_item import next_item_batch
from recctl.sequences.store import Histories
from recctl.training.params import TrainParams

N_ITEMS = 30
LENGTH = 8
CAUSAL = [kind for kind, model in NEURAL.items() if model.network.causal]


def build(kind: str, **more: Any) -> Neural:
    small = {"max_length": LENGTH, "hidden_size": 12, **more}
    params = TrainParams.model_validate({"model": kind, kind: small})
    encoder = NEURAL[kind].build(N_ITEMS, params.network())
    encoder.initialise(torch.Generator().manual_seed(0))
    # what is served wants no gradients, and a GRU that does may round otherwise
    return NEURAL[kind](encoder.eval().requires_grad_(False))


def named(name: str) -> Neural:
    """`rotary sasrec`, or a kind alone: then without, where it could be with."""
    rotary, _, kind = name.rpartition(" ")
    return build(kind, rotary=bool(rotary)) if kind in ("bert4rec", "sasrec") else build(kind)


@pytest.fixture(params=[*NEURAL, "rotary bert4rec", "rotary sasrec"])
def model(request: pytest.FixtureRequest) -> Neural:
    return named(request.param)


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


@pytest.mark.parametrize("kind", ["bert4rec", "sasrec"])
def test_one_from_before_rotary_positions_comes_back(kind: str, tmp_path: Path) -> None:
    model = build(kind, rotary=False)
    save_model(model, tmp_path)
    about = json.loads((tmp_path / SETTINGS).read_text())
    del about["settings"]["rotary"]
    (tmp_path / SETTINGS).write_text(json.dumps(about))
    loaded = load_model(tmp_path, torch.device("cpu"))
    histories = Histories.of([[1, 2, 3], []])
    assert torch.equal(loaded.score(histories), model.score(histories))


@pytest.mark.parametrize("kind", CAUSAL)
def test_what_comes_later_does_not_count(kind: str) -> None:
    encoder = build(kind).encoder
    tokens = torch.tensor([[31, 1, 2, 3, 4, 5]])
    other = tokens.clone()
    other[0, 4:] = torch.tensor([9, 30])
    a, b = encoder(tokens, None, None), encoder(other, None, None)
    torch.testing.assert_close(a[:, :4], b[:, :4])
    assert not torch.allclose(a[:, 4:], b[:, 4:])


@pytest.mark.parametrize("kind", [*CAUSAL, "rotary sasrec"])
def test_training_sees_what_serving_scores(kind: str) -> None:
    """The vector that is trained to tell an item is the one that scores what follows it."""
    model = named(kind)
    lists = [[4, 2, 9, 1], [7, 7]]
    histories = Histories.of(lists)
    batch = next_item_batch(
        torch.from_numpy(np.array(histories.items)),
        torch.from_numpy(histories.starts),
        torch.from_numpy(histories.lengths),
        sizes=Sizes(longest=4, shortest=2, most_masked=4, targets=6),
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


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("kind", ["bert4rec", "sasrec"])
def test_serving_in_parts_scores_as_training_does(
    kind: str, rotary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradients the feed-forward layer works on some rows at a time."""
    monkeypatch.setattr(transformer, "_INNER", 7 * 48)  # seven rows of width 4 * 12
    encoder = build(kind, rotary=rotary).encoder
    tokens = torch.randint(N_ITEMS, (5, LENGTH), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        served = encoder(tokens, None, None)
    torch.testing.assert_close(served, encoder(tokens, None, None).detach())


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("kind", ["bert4rec", "sasrec"])
def test_some_positions_alone_are_as_among_all(kind: str, rotary: bool) -> None:
    encoder = build(kind, rotary=rotary).encoder
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, encoder.pad, encoder.pad]])
    at = torch.tensor([[5, 0, 2], [3, 1, 0]])
    real = tokens != encoder.pad
    every = encoder(tokens, real, None)
    index = at[..., None].expand(-1, -1, every.shape[-1])
    torch.testing.assert_close(encoder(tokens, real, at), every.gather(1, index))


def test_turning_by_hand() -> None:
    """Equation 34 of Su et al. 2021, with the angles written out."""
    x = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    found = turned(x, turning(5, 6, torch.device("cpu")))
    for position in range(5):
        for pair in range(3):
            angle = position * 10_000 ** (-2 * pair / 6)
            cos, sin = math.cos(angle), math.sin(angle)
            a, b = x[..., position, 2 * pair], x[..., position, 2 * pair + 1]
            for at, wanted in ((2 * pair, a * cos - b * sin), (2 * pair + 1, a * sin + b * cos)):
                torch.testing.assert_close(found[..., position, at], wanted)


def test_what_is_turned_agrees_by_distance() -> None:
    query, key = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    turns = turning(40, 8, torch.device("cpu"))
    agreement = turned(query.expand(40, 8), turns) @ turned(key.expand(40, 8), turns).T
    for distance in (-30, -1, 0, 1, 7):
        along = agreement.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(agreement.diagonal(1)[0], agreement.diagonal(2)[0])


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
