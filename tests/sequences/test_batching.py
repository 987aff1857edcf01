import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recctl.sequences.batching import Plan, plan_epoch
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


def test_batches_hold_similar_lengths() -> None:
    lengths = list(np.random.default_rng(0).integers(1, 100, size=256))
    _, made = plan(lengths, max_length=100, batch_size=16, last_item_share=0.0)
    padded = sum(
        int(made.lengths[a:b].max()) * int(b - a)
        for a, b in zip(made.bounds[:-1], made.bounds[1:], strict=True)
    )
    assert padded < 1.1 * sum(lengths)
    firsts = made.lengths[made.bounds[:-1]]
    assert list(firsts) != sorted(firsts)  # and the batches are shuffled


def test_the_seed_decides() -> None:
    assert np.array_equal(plan([5] * 30, seed=1)[1].starts, plan([5] * 30, seed=1)[1].starts)
    assert not np.array_equal(plan([5] * 30, seed=1)[1].starts, plan([5] * 30, seed=2)[1].starts)
