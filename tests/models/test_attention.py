import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recctl.models import attention
from recctl.models.dropout import kept_bytes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plainly(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, kept: Tensor) -> Tensor:
    """One query after another, by the formula."""
    mixed = torch.empty_like(query)
    for b, h, m in torch.cartesian_prod(*map(torch.arange, query.shape[:3])):
        scores = key[b, h] @ query[b, h, m] / math.sqrt(query.shape[-1])
        weights = scores.masked_fill(~seen[b, h, m], -math.inf).exp()
        mixed[b, h, m] = (weights / weights.sum() * kept[b, h, m]) @ value[b, h]
    return mixed


@given(
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    asked=st.integers(1, 5),
    hides=st.sampled_from(["nothing", "keys", "pairs", "what comes after"]),
    drop=st.floats(0.05, 0.9),
    seed=st.integers(0, 2**32),
    at_a_time=st.sampled_from([1, 20, 2**19]),
)
def test_it_is_the_formula(
    shape: tuple[int, int, int, int],
    asked: int,
    hides: str,
    drop: float,
    seed: int,
    at_a_time: int,
) -> None:
    batch, heads, n, size = shape
    causal = hides == "what comes after"
    m = n if causal else asked
    draw = generator(seed)
    query, key, value = (
        torch.randn(batch, length, heads, size, generator=draw).transpose(1, 2)
        for length in (m, n, n)
    )
    seen = torch.ones(batch, 1, m if hides == "pairs" else 1, n, dtype=torch.bool)
    if hides in ("keys", "pairs"):
        seen = torch.rand(seen.shape, generator=draw) < 0.5
        seen[..., 0] = True
    given_seen = None if hides == "nothing" or causal else seen
    whole = torch.ones(m, n, dtype=torch.bool).tril() if causal else seen
    kept, scale = kept_bytes((batch, heads, m, n), drop, generator(seed))
    expected = plainly(query, key, value, whole.expand(batch, heads, m, n), kept * scale)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_AT_A_TIME", at_a_time)
        found = attention.attend(
            query, key, value, seen=given_seen, causal=causal, drop=drop, generator=generator(seed)
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at_a_time", [1, 2**19])
@pytest.mark.parametrize("some_hidden", [False, True])
def test_the_gradient_is_that_of_the_formula(
    monkeypatch: pytest.MonkeyPatch, at_a_time: int, some_hidden: bool
) -> None:
    monkeypatch.setattr(attention, "_AT_A_TIME", at_a_time)
    shapes = [(3, 2, 4, 3), (3, 2, 5, 3), (3, 2, 5, 3)]
    inputs = [torch.randn(one, dtype=torch.float64, generator=generator()) for one in shapes]
    kept, scale = kept_bytes((3, 2, 4, 5), 0.3, generator())
    hidden = torch.zeros(3, 1, 1, 5, dtype=torch.float64)
    hidden[1:, :, :, 3:] = -math.inf

    def function(*inputs: Tensor) -> Tensor:
        given_hidden = hidden if some_hidden else None
        mixed: Tensor = attention._Dropped.apply(*inputs, given_hidden, kept, scale)
        return mixed

    assert torch.autograd.gradcheck(function, [one.requires_grad_() for one in inputs])


def test_without_a_generator_nothing_is_dropped() -> None:
    query, key, value = (torch.randn(2, 2, 6, 4, generator=generator(n)) for n in range(3))
    kept = torch.ones(2, 2, 6, 6)
    seen = torch.ones(6, 6, dtype=torch.bool).tril().expand(2, 2, 6, 6)
    found = attention.attend(query, key, value, causal=True, drop=0.5)
    torch.testing.assert_close(found, plainly(query, key, value, seen, kept))


def test_about_the_asked_share_is_dropped_and_the_mean_stays() -> None:
    """A constant value comes out as 1 on average, with the spread that dropout gives it."""
    key = torch.zeros(50, 2, 40, 4)
    mixed = attention.attend(key, key, key + 1, drop=0.25, generator=generator())
    one = mixed[..., 0]
    error = math.sqrt(0.25 / 0.75 / 40)  # of a mean of 40 weights, each 0 or 1 / .75 of its share
    assert one.mean().item() == pytest.approx(1, abs=5 * error / math.sqrt(one.numel()))
    assert one.std().item() == pytest.approx(error, rel=0.1)
