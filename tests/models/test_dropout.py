import pytest
import torch

from recctl.models.dropout import dropout


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_generator_means_evaluation() -> None:
    x = torch.randn(3, 5)
    assert dropout(x, 0.5, None) is x


def test_kept_elements_are_scaled_so_that_the_mean_stays() -> None:
    x = torch.ones(1000, 1000)
    y = dropout(x, 0.25, generator())
    assert y.unique().tolist() == pytest.approx([0.0, 256 / (256 - 64)])
    # a million Bernoulli variables: the share dropped is within 5 standard errors of 0.25
    assert (y == 0).float().mean().item() == pytest.approx(0.25, abs=5 * (0.25 * 0.75) ** 0.5 / 1e3)


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.ones(50, 7, requires_grad=True)
    y = dropout(x, 0.5, generator())
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_the_generator_decides() -> None:
    x = torch.ones(64, 3)
    assert torch.equal(dropout(x, 0.5, generator(1)), dropout(x, 0.5, generator(1)))
    assert not torch.equal(dropout(x, 0.5, generator(1)), dropout(x, 0.5, generator(2)))


def test_neighbours_are_independent() -> None:
    kept = (dropout(torch.ones(2_000_000), 0.5, generator()) > 0).float()
    both = (kept[:-1] * kept[1:]).mean().item()
    assert both == pytest.approx(0.25, abs=0.002)
