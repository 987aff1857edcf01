import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.sequences.batching import Plan, Sizes, plan_epoch, plan_windows
from recctl.sequences.store import Histories


def plan(lengths: list[int], seed: int = 0, **changes: float) -> tuple[Histories, Plan]:
    """Sequences whose items say where they stand, and a plan for them."""
    ends = np.cumsum(lengths)
    train = Histories(np.arange(ends[-1], dtype=np.int32), ends - lengths, ends)
    settings = {"mask_probability": 0.3, "last_item_share": 0.5, **changes}
    shape = {name: int(settings.pop(name, default)) for name, default in SHAPE.items()}
    return train, plan_epoch(train, np.random.default_rng(seed), **shape, **settings)


SHAPE = {"max_length": 6, "batch_size": 4}


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_every_sequence_once_and_a_share_twice(lengths: list[int], seed: int) -> None:
    train, made = plan(lengths, seed)
    owner = np.searchsorted(train.ends, made.starts, side="right")
    once, twice = owner[~made.last_only], owner[made.last_only]
    assert sorted(once) == list(range(len(lengths)))
    assert len(twice) == len(set(twice)) == round(0.5 * len(lengths))


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=60), seed=st.integers(0, 99))
def test_windows_lie_within_their_sequence(lengths: list[int], seed: int) -> None:
    train, made = plan(lengths, seed)
    owner = np.searchsorted(train.ends, made.starts, side="right")
    assert (made.starts >= train.starts[owner]).all()
    assert (made.starts + made.lengths <= train.ends[owner]).all()
    cloze = ~made.last_only
    assert (made.lengths[cloze] == np.minimum(train.lengths[owner], 6)[cloze]).all()
    # a row for the last item holds all that comes before it, as far as six items hold it
    whole = made.starts == train.starts[owner]
    assert (whole | (made.lengths == 6))[made.last_only].all()
    assert ((made.masked >= 1) & (made.masked <= made.lengths)).all()
    assert (made.masked[made.last_only] == 1).all()
    assert made.bounds[0] == 0
    assert made.bounds[-1] == len(made.starts)
    assert ((np.diff(made.bounds) >= 1) & (np.diff(made.bounds) <= 4)).all()


def test_the_mean_number_of_masked_items_is_exact() -> None:
    _, made = plan([6] * 20_000, last_item_share=0.0)
    # 0.3 * 6 = 1.8: one or two, the mean within 5 standard errors
    assert set(made.masked) == {1, 2}
    assert abs(made.masked.mean() - 1.8) < 5 * 0.4 / 20_000**0.5


def test_long_sequences_give_windows_from_everywhere() -> None:
    _, made = plan([20] * 2_000, last_item_share=0.0)
    offsets = made.starts % 20
    assert set(offsets) == set(range(15))  # 20 - 6 + 1 places


def test_last_items_are_from_everywhere() -> None:
    _, made = plan([20] * 4_000, last_item_share=1.0)
    last = (made.starts + made.lengths - 1)[made.last_only] % 20
    assert np.bincount(last, minlength=20).min() > 4_000 / 20 - 5 * (4_000 / 20) ** 0.5


@given(lengths=st.lists(st.integers(1, 100), min_size=1, max_size=90), size=st.integers(1, 3))
def test_parts_hold_each_row_of_a_share_once(lengths: list[int], size: int) -> None:
    _, made = plan(lengths, max_length=100, batch_size=64)
    for begin, end in itertools.pairwise(made.bounds.tolist()):
        for rank in range(size):
            share = slice(begin + rank, end, size)
            parts = list(made.parts(share, "cpu"))
            rows = [row for part in parts for row in range(*part.indices(len(made.lengths)))]
            assert sorted(rows) == list(range(begin + rank, end, size))


def test_batches_mix_lengths_and_their_parts_need_little_padding() -> None:
    lengths = list(np.random.default_rng(0).integers(1, 100, size=2_560))
    _, made = plan(lengths, max_length=100, batch_size=256, last_item_share=0.0)
    bounds = list(itertools.pairwise(made.bounds.tolist()))
    assert all(made.lengths[a] < 5 and made.lengths[b - 1] > 95 for a, b in bounds)
    parts = [part for a, b in bounds for part in made.parts(slice(a, b, 1), "cpu")]
    padded = sum(int(made.lengths[p].max()) * len(made.lengths[p]) for p in parts)
    assert padded < 1.4 * sum(lengths)
    assert len(parts) < 5 * len(bounds)


def test_the_seed_decides() -> None:
    assert np.array_equal(plan([5] * 30, seed=1)[1].starts, plan([5] * 30, seed=1)[1].starts)
    assert not np.array_equal(plan([5] * 30, seed=1)[1].starts, plan([5] * 30, seed=2)[1].starts)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.9, 1.0])
@pytest.mark.parametrize(("rows", "max_length"), [(1, 1), (3, 30), (32, 17), (5, 64)])
def test_rounded_sizes_are_few_and_hold_every_batch(
    rows: int, max_length: int, share: float
) -> None:
    found = set()
    for longest in range(1, max_length + 1):
        for targets in range(1, rows * min(longest, int(share * longest) + 1) + 1):
            made = Sizes(longest, 1, 1, targets).rounded(rows, max_length, share)
            assert longest <= made.longest <= max_length
            assert targets <= made.targets <= rows * made.most_masked
            found.add(made)
    assert len(found) <= 12


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60),
    probability=st.floats(0.01, 0.99),
    causal=st.booleans(),
)
def test_rounded_sizes_hold_what_a_plan_masks(
    lengths: list[int], probability: float, causal: bool
) -> None:
    shape = {"max_length": 20, "batch_size": 8}
    train, made = plan(lengths, mask_probability=probability, **shape)
    if causal:
        made = plan_windows(train, np.random.default_rng(0), **shape)
    for begin, end in itertools.pairwise(made.bounds):
        exact = made.sizes(slice(begin, end))
        rounded = exact.rounded(8, 20, 1.0 if causal else probability)
        assert exact.most_masked <= rounded.most_masked <= rounded.longest
