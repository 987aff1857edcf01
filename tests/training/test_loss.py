import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recctl.training import loss as module
from recctl.training.loss import catalogue_cross_entropy


def problem(rows: int, size: int, n_items: int, seed: int) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, size, generator=draw, requires_grad=True)
    items = torch.randn(n_items, size, generator=draw, requires_grad=True)
    bias = torch.randn(n_items, generator=draw, requires_grad=True)
    return hidden, items, bias, torch.randint(n_items, (rows,), generator=draw)


@given(
    rows=st.integers(1, 70), size=st.integers(1, 9), n_items=st.integers(1, 40), seed=st.integers(0)
)
def test_equals_torch_cross_entropy_and_its_gradients(
    rows: int, size: int, n_items: int, seed: int
) -> None:
    hidden, items, bias, targets = problem(rows, size, n_items, seed % 2**31)
    wanted = torch.nn.functional.cross_entropy(hidden @ items.T + bias, targets)
    gradients = torch.autograd.grad(wanted, (hidden, items, bias))
    got = catalogue_cross_entropy(hidden, items, bias, targets)
    # twice the loss: what comes down from above must be passed on
    ours = torch.autograd.grad(2 * got, (hidden, items, bias))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, gradients, strict=True):
        torch.testing.assert_close(one, 2 * other, rtol=1e-3, atol=1e-5)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, items, bias, targets = problem(100, 8, 30, 0)
    whole = catalogue_cross_entropy(hidden, items, bias, targets)
    monkeypatch.setattr(module, "_CPU_CHUNK_BYTES", 1)
    parts = catalogue_cross_entropy(hidden, items, bias, targets)
    torch.testing.assert_close(parts, whole)


def test_large_scores_do_not_overflow() -> None:
    hidden = torch.full((1, 1), 200.0)
    items = torch.tensor([[1.0], [-1.0]])
    got = catalogue_cross_entropy(hidden, items, torch.zeros(2), torch.tensor([1]))
    assert got.item() == pytest.approx(400.0)  # log(e^200 + e^-200) + 200
