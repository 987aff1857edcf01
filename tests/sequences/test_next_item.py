"""Windows of next-item prediction, against plain lists."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recctl.sequences.batching import Batch, Seen, Sizes, plan_windows
from recctl.sequences.next_item import next_item_batch
from recctl.sequences.store import Histories

PAD, FIRST = 900, 901

lengths = st.lists(st.integers(1, 20), min_size=1, max_size=40)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_each_position_tells_the_next_item(lengths: list[int]) -> None:
    starts = [100 * row for row in range(len(lengths))]
    batch = next_item_batch(
        torch.arange(100 * len(lengths), dtype=torch.int32),
        torch.tensor(starts),
        torch.tensor(lengths),
        sizes=Sizes(max(lengths), min(lengths), max(lengths), sum(lengths)),
        pad=PAD,
        first=FIRST,
    )
    windows = [list(range(s, s + n)) for s, n in zip(starts, lengths, strict=True)]
    padded = [[FIRST, *one[:-1], *[PAD] * (max(lengths) - len(one))] for one in windows]
    assert batch.tokens.tolist() == padded
    assert batch.targets.tolist() == [item for one in windows for item in one]
    at = [row * max(lengths) + k for row, one in enumerate(windows) for k in range(len(one))]
    assert batch.chosen.tolist() == at
    nobody = torch.full((len(batch.targets),), -1)
    seen = batch.seen.items(slice(None), nobody).tolist()
    assert [[item for item in row if item >= 0] for row in seen] == [
        one[:k] for one in windows for k in range(len(one))
    ]
    if batch.real is None:
        assert min(lengths) == max(lengths)
    else:
        assert batch.real.sum(1).tolist() == lengths


def test_hidden_items_are_given_as_padding_and_still_reported() -> None:
    def batch(item_dropout: float) -> Batch:
        return next_item_batch(
            torch.arange(10_000, dtype=torch.int32) % 800,
            torch.arange(0, 10_000, 50),
            torch.full((200,), 50),
            sizes=Sizes(longest=50, shortest=50, most_masked=50, targets=10_000),
            pad=PAD,
            first=FIRST,
            item_dropout=item_dropout,
            generator=torch.Generator().manual_seed(0),
        )

    plain, some = batch(0.0), batch(0.2)
    hidden = some.tokens == PAD
    assert torch.equal(some.tokens[~hidden], plain.tokens[~hidden])
    assert (some.tokens[:, 0] == FIRST).all()
    assert torch.equal(some.targets, plain.targets)
    # 9,800 Bernoulli variables: within 5 standard errors
    share = hidden[:, 1:].float().mean().item()
    assert abs(share - 0.2) < 5 * (0.2 * 0.8 / 9_800) ** 0.5
    assert torch.equal(some.tokens, batch(0.2).tokens)


@given(
    window=st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=5),
    drawn=st.lists(st.integers(0, 5), min_size=1, max_size=9),
)
def test_drawn_items_that_came_before_the_target_are_seen(
    window: list[list[int]], drawn: list[int]
) -> None:
    rows, before = (
        torch.arange(len(window)).repeat_interleave(4),
        torch.arange(4).repeat(len(window)),
    )
    items = torch.tensor(window)
    turn = torch.arange(4, dtype=torch.int32).expand_as(items)
    seen = Seen(items, turn, rows, before).among(torch.tensor(drawn)).tolist()
    assert seen == [[item in one[:k] for item in drawn] for one in window for k in range(4)]


@given(lengths=lengths, seed=st.integers(0, 99))
def test_every_sequence_gives_its_own_window(lengths: list[int], seed: int) -> None:
    ends = np.cumsum(lengths)
    train = Histories(np.arange(ends[-1], dtype=np.int32), ends - lengths, ends)
    plan = plan_windows(train, np.random.default_rng(seed), max_length=6, batch_size=4)
    owner = np.searchsorted(train.ends, plan.starts, side="right")
    assert sorted(owner) == list(range(len(lengths)))
    assert (plan.lengths == np.minimum(train.lengths[owner], 6)).all()
    assert (plan.starts >= train.starts[owner]).all()
    assert (plan.starts + plan.lengths <= train.ends[owner]).all()
    assert (plan.masked == plan.lengths).all()
    assert ((np.diff(plan.bounds) >= 1) & (np.diff(plan.bounds) <= 4)).all()


def test_long_sequences_give_windows_from_everywhere() -> None:
    ends = 20 * np.arange(1, 2_001)
    train = Histories(np.zeros(ends[-1], np.int32), ends - 20, ends)
    plan = plan_windows(train, np.random.default_rng(0), max_length=6, batch_size=64)
    assert set(plan.starts % 20) == set(range(15))  # 20 - 6 + 1 places
