import torch
from hypothesis import given
from hypothesis import strategies as st

from recctl.sequences.batching import Batch, Sizes
from recctl.sequences.cloze import cloze_batch

PAD, MASK = 900, 901


def batch(lengths: list[int], masked: list[int], last_only: list[bool], seed: int) -> Batch:
    starts = [100 * row for row in range(len(lengths))]
    return cloze_batch(
        torch.arange(100 * len(lengths), dtype=torch.int32),
        torch.tensor(starts),
        torch.tensor(lengths),
        torch.tensor(masked),
        torch.tensor(last_only),
        sizes=Sizes(max(lengths), min(lengths), max(masked), sum(masked)),
        pad=PAD,
        mask=MASK,
        generator=torch.Generator().manual_seed(seed),
    )


rows = st.lists(
    st.integers(1, 12).flatmap(
        lambda length: st.tuples(st.just(length), st.integers(1, length), st.booleans())
    ),
    min_size=1,
    max_size=8,
)


@given(rows=rows, seed=st.integers(0, 2**31))
def test_masked_items_and_nothing_else_are_hidden(
    rows: list[tuple[int, int, bool]], seed: int
) -> None:
    lengths = [length for length, _, _ in rows]
    masked = [1 if last else count for _, count, last in rows]
    made = batch(lengths, masked, [last for *_, last in rows], seed)
    assert made.tokens.shape == (len(rows), max(lengths))
    targets = iter(made.targets.tolist())
    places = made.at.flatten()[made.chosen].tolist()
    seen = iter(made.seen.items(slice(None), made.targets).tolist())
    for row, (length, _, last) in enumerate(rows):
        tokens = made.tokens[row].tolist()
        window = [100 * row + column for column in range(length)]
        mine = [places.pop(0) for _ in range(masked[row])]
        assert len(set(mine)) == masked[row]
        assert [next(targets) for _ in mine] == [window[place] for place in mine]
        shown = {item for place, item in enumerate(window) if place not in mine}
        assert all(set(next(seen)) - shown == {window[place]} for place in mine)
        hidden = [MASK if place in mine else item for place, item in enumerate(window)]
        assert tokens == hidden + [PAD] * (max(lengths) - length)
        if last:
            assert mine == [length - 1]


def test_padding_is_marked_and_absent_where_all_lengths_agree() -> None:
    made = batch([3, 1], [1, 1], [False, False], seed=0)
    assert made.real is not None
    assert made.real.tolist() == [[True, True, True], [True, False, False]]
    assert batch([3, 3], [1, 1], [False, False], seed=0).real is None


def test_every_position_is_masked_as_often() -> None:
    made = batch([5] * 4000, [2] * 4000, [False] * 4000, seed=3)
    counts = torch.bincount(made.at.flatten()[made.chosen], minlength=5)
    expected, error = 4000 * 2 / 5, (4000 * 0.4 * 0.6) ** 0.5
    assert (counts - expected).abs().max() < 5 * error
