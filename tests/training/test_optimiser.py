"""The step of all weights, against torch's own."""

import pytest
import torch

from recctl.models.bert4rec import Encoder
from recctl.training.optimiser import Optimiser

N_ITEMS = 40


def network(sparse: bool) -> Encoder:
    encoder = Encoder(N_ITEMS, 6, 8, layers=1, heads=2, dropout=0.0, attention_dropout=0.0)
    encoder.initialise(torch.Generator().manual_seed(0))
    with torch.no_grad():  # or gradients would be as small as Adam's epsilon
        for weight in encoder.parameters():
            weight.mul_(15 if weight.dim() > 1 else 1)
    encoder.item.sparse = sparse
    return encoder


def loss(encoder: Encoder, scale: float = 1.0) -> torch.Tensor:
    """Touches the rows 1, 2, 3 (twice), 5 and the token 41, and no other."""
    hidden = encoder(torch.tensor([[1, 2, 41, 3, 3]]), None, torch.tensor([[2]]))[0]
    return scale * (hidden @ encoder.item(torch.tensor([5, 1])).T).sum()


def test_a_dense_step_is_adamw_with_clipped_gradients() -> None:
    """In float64: the keys' bias has no gradient but rounding, of which Adam makes whole steps."""
    ours, theirs = network(False).double(), network(False).double()
    stepped = Optimiser(ours, decay=0.1, clip_norm=0.5)
    matrices = [one for one in theirs.parameters() if one.dim() > 1]
    vectors = [one for one in theirs.parameters() if one.dim() == 1]
    plain = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.01,
    )
    for _ in range(3):
        stepped.step(loss(ours), 0.01)
        plain.zero_grad()
        loss(theirs).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        plain.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("scale", [1.0, 0.1, 50.0])
def test_the_first_lazy_step_is_adams_at_the_rows_that_were_touched(scale: float) -> None:
    """Clipping, too, sees the same norm, though a row stands twice in the gradient.

    (With gradients as small as Adam's epsilon they differ: torch adds it in another place.)
    """
    lazy, dense = network(True), network(False)
    before = lazy.item.weight.detach().clone()
    Optimiser(lazy, decay=0.0, clip_norm=0.5, lazy=True).step(loss(lazy, scale), 0.01)
    Optimiser(dense, decay=0.0, clip_norm=0.5).step(loss(dense, scale), 0.01)
    for one, other in zip(lazy.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    moved = (lazy.item.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [1, 2, 3, 5, 41]


def test_rows_that_are_not_touched_stay_where_they_are() -> None:
    """Dense Adam would carry them on by the moments of earlier steps."""
    encoder = network(True)
    optimiser = Optimiser(encoder, decay=0.1, clip_norm=5.0, lazy=True)
    optimiser.step(loss(encoder), 0.01)
    before = encoder.item.weight.detach().clone()
    optimiser.step((encoder.item(torch.tensor([7])) ** 2).sum(), 0.01)
    moved = (encoder.item.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [7]


def test_its_state_goes_on_where_it_was() -> None:
    whole, first = network(True), network(True)
    one = Optimiser(whole, decay=0.1, clip_norm=1.0, lazy=True)
    two = Optimiser(first, decay=0.1, clip_norm=1.0, lazy=True)
    for optimiser, encoder in ((one, whole), (two, first)):
        optimiser.step(loss(encoder), 0.01)
    second = network(True)
    second.load_state_dict(first.state_dict())
    three = Optimiser(second, decay=0.1, clip_norm=1.0, lazy=True)
    three.load_state_dict(two.state_dict())
    one.step(loss(whole), 0.02)
    three.step(loss(second), 0.02)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("first_lazy", [True, False])
def test_its_state_goes_on_with_or_without_sparse_gradients(first_lazy: bool) -> None:
    """Ranks on GPUs are dense where one process is lazy; a training may pass from one to other."""
    encoder, other = network(first_lazy), network(not first_lazy)
    one = Optimiser(encoder, decay=0.0, clip_norm=1.0, lazy=first_lazy)
    for _ in range(2):
        one.step(loss(encoder), 0.01)
    other.load_state_dict(encoder.state_dict())
    two = Optimiser(other, decay=0.0, clip_norm=1.0, lazy=not first_lazy)
    two.load_state_dict(one.state_dict())
    one.step(loss(encoder), 0.02)
    two.step(loss(other), 0.02)
    touched = [1, 2, 3, 5, 41]
    torch.testing.assert_close(encoder.item.weight[touched], other.item.weight[touched])
    torch.testing.assert_close(encoder.position.weight, other.position.weight)
