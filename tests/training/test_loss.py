import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recctl.sequences.batching import Seen
from recctl.training import loss as module
from recctl.training.loss import (
    catalogue_cross_entropy,
    gbce,
    log_uniform,
    sampled_cross_entropy,
)


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


@pytest.mark.parametrize("causal", [False, True])
def test_chunks_make_no_difference(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, items, bias, targets = problem(100, 8, 30, 0)
    seen, _ = history(100, 30, causal)
    whole = catalogue_cross_entropy(hidden, items, bias, targets, seen)
    monkeypatch.setattr(module, "_CPU_CHUNK_BYTES", 1)
    parts = catalogue_cross_entropy(hidden, items, bias, targets, seen)
    torch.testing.assert_close(parts, whole)


def history(rows: int, n_items: int, causal: bool) -> tuple[Seen, list[list[int]]]:
    """For each row some of three users' items; as the loss is given them, and as lists."""
    draw = torch.Generator().manual_seed(rows)
    window = torch.randint(n_items, (3, 6), generator=draw)
    row = torch.randint(3, (rows,), generator=draw)
    at = torch.randint(7, (rows,), generator=draw)
    turn = torch.arange(6).expand(3, 6) if causal else torch.randint(7, (3, 6), generator=draw)
    lists = [window[user][turn[user] < now].tolist() for user, now in zip(row, at, strict=True)]
    return Seen(window, turn.int(), row, at), lists


def unseen(targets: torch.Tensor, seen: list[list[int]], n_items: int) -> torch.Tensor:
    """Zero for what a target is compared with, -inf for the rest; (n, n_items)."""
    mask = torch.zeros(len(targets), n_items)
    for row, (target, items) in enumerate(zip(targets.tolist(), seen, strict=True)):
        mask[row, [item for item in items if item != target]] = -torch.inf
    return mask


@given(
    rows=st.integers(1, 40), n_items=st.integers(1, 20), causal=st.booleans(), seed=st.integers(0)
)
def test_seen_items_are_left_out(rows: int, n_items: int, causal: bool, seed: int) -> None:
    hidden, items, bias, targets = problem(rows, 5, n_items, seed % 2**31)
    seen, lists = history(rows, n_items, causal)
    logits = hidden @ items.T + bias + unseen(targets, lists, n_items)
    wanted = torch.nn.functional.cross_entropy(logits, targets)
    gradients = torch.autograd.grad(wanted, (hidden, items, bias))
    got = catalogue_cross_entropy(hidden, items, bias, targets, seen)
    ours = torch.autograd.grad(got, (hidden, items, bias))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    for one, other in zip(ours, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_seen_items_are_left_out_of_samples(causal: bool) -> None:
    hidden, items, bias, targets = problem(20, 4, 9, 0)
    seen, lists = history(20, 9, causal)
    everything = torch.arange(9)
    own, others = scores(hidden, items, bias, targets, everything)
    share = torch.full((9,), math.log(1 / 9))
    mask = unseen(targets, lists, 9)
    got = sampled_cross_entropy(own, others, targets, everything, share, seen)
    wanted = torch.nn.functional.cross_entropy(others + mask, targets)
    torch.testing.assert_close(got, wanted)
    rivals = mask.isfinite() & (everything != targets[:, None])
    wrong = torch.nn.functional.softplus(others)[rivals].sum()
    right = torch.nn.functional.softplus(-own).sum()
    got = gbce(own, others, targets, everything, 9, 0.0, seen)
    torch.testing.assert_close(got, (right + wrong) / (20 * 10))


def test_large_scores_do_not_overflow() -> None:
    hidden = torch.full((1, 1), 200.0)
    items = torch.tensor([[1.0], [-1.0]])
    got = catalogue_cross_entropy(hidden, items, torch.zeros(2), torch.tensor([1]))
    assert got.item() == pytest.approx(400.0)  # log(e^200 + e^-200) + 200


def scores(
    hidden: torch.Tensor,
    items: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    negatives: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    every = hidden @ items.T + bias
    return every.gather(1, targets[:, None])[:, 0], every[:, negatives]


def test_a_sample_of_every_item_once_is_the_whole_softmax() -> None:
    hidden, items, bias, targets = problem(20, 4, 9, 0)
    everything = torch.arange(9)
    share = torch.full((9,), math.log(1 / 9))
    own, others = scores(hidden, items, bias, targets, everything)
    got = sampled_cross_entropy(own, others, targets, everything, share)
    wanted = torch.nn.functional.cross_entropy(hidden @ items.T + bias, targets)
    torch.testing.assert_close(got, wanted)


def test_the_sampled_sum_is_right_in_the_mean() -> None:
    """The softmax's sum from samples, target apart, against the whole one; 5 standard errors."""
    hidden, items, bias, targets = problem(1, 3, 12, 1)
    every = (hidden @ items.T + bias)[0]
    target = int(targets[0])
    draw = torch.Generator().manual_seed(2)
    sums = []
    for _ in range(2000):
        negatives, log_share = log_uniform(16, 12, draw)
        own, others = scores(hidden, items, bias, targets, negatives)
        loss = sampled_cross_entropy(own, others, targets, negatives, log_share)
        sums.append(math.exp(loss.item() + own.item()) - own.exp().item())
    found = torch.tensor(sums)
    wanted = every[torch.arange(12) != target].exp().sum().item()
    assert abs(found.mean().item() - wanted) < 5 * found.std().item() / len(sums) ** 0.5


def test_log_uniform_draws_by_its_own_shares() -> None:
    drawn, log_share = log_uniform(200_000, 5, torch.Generator().manual_seed(0))
    shares = [math.log((i + 2) / (i + 1)) / math.log(6) for i in range(5)]
    assert sum(shares) == pytest.approx(1)
    found = torch.bincount(drawn, minlength=5) / len(drawn)
    assert found.tolist() == pytest.approx(shares, abs=0.006)  # 5 standard errors
    assert log_share.tolist() == pytest.approx([math.log(shares[i]) for i in drawn.tolist()])


@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_by_hand(calibration: float) -> None:
    hidden, items = torch.tensor([[1.0]]), torch.tensor([[2.0], [-1.0], [0.5], [3.0]])
    bias, negatives = torch.zeros(4), torch.tensor([1, 0, 3])  # 0 is the target: left out
    own, others = scores(hidden, items, bias, torch.tensor([0]), negatives)
    sigmoid = [1 / (1 + math.exp(-score)) for score in (2.0, -1.0, 3.0)]
    share = 3 / 3
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    wanted = -beta * math.log(sigmoid[0]) - math.log(1 - sigmoid[1]) - math.log(1 - sigmoid[2])
    got = gbce(own, others, torch.tensor([0]), negatives, 4, calibration)
    assert got.item() == pytest.approx(wanted / 4, rel=1e-5)


def test_the_weight_of_gbce_runs_from_one_to_the_sampled_share() -> None:
    """t = 0 is plain binary cross-entropy; t = 1 weights the target by k / (n - 1)."""
    hidden, items, bias, targets = problem(50, 3, 21, 3)
    negatives = torch.full((5,), 20)
    targets = targets % 20
    own, others = scores(hidden, items, bias, targets, negatives)
    wrong = torch.nn.functional.softplus(hidden @ items[20] + bias[20]) * 5
    for calibration, beta in ((0.0, 1.0), (1.0, 5 / 20)):
        wanted = (beta * torch.nn.functional.softplus(-own) + wrong).mean() / 6
        got = gbce(own, others, targets, negatives, 21, calibration)
        torch.testing.assert_close(got, wanted)
