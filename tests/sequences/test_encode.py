"""The log as arrays, read in batches and parts of every size."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_cases import Row, ordered, table

from recctl.sequences import disk
from recctl.sequences.encode import Log, encode
from recctl.sequences.params import SequenceSplitParams

ALL = SequenceSplitParams(minimum_user_interactions=1)
ROWS: list[Row] = [("ann", "q", 5), ("ann", "p", 5), ("ann", "p", 7), ("bob", "p", 1)]


def plain(log: Log) -> list[list[object]]:
    """A log as lists, with the names of the items."""
    names = log.item_ids.to_pylist()
    items = [names[item] for item in log.items]
    return [items, log.times.tolist(), log.offsets.tolist(), log.user_ids.to_pylist()]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abé𝄞\uffee"), st.sampled_from("pqr"), st.integers(-3, 9)),
        max_size=20,
    ),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_batches_and_parts_of_any_size_give_the_same(
    rows: list[Row], batch: int, part: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "PART", part)
        log = encode(ordered(table(rows), batch), ALL)
    sorted_rows = sorted(
        (user.encode(), time, n, item) for n, (user, item, time) in enumerate(rows)
    )
    users = sorted({row[0] for row in sorted_rows})
    ends = [sum(row[0] <= user for row in sorted_rows) for user in users]
    assert plain(log) == [
        [row[3] for row in sorted_rows],
        [row[1] for row in sorted_rows],
        [0, *ends],
        [user.decode() for user in users],
    ]


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize(
    "order",
    [
        [3, 0, 1, 2],  # bob before ann
        [0, 3, 1, 2],  # ann twice
        [0, 2, 1, 3],  # a later time first
        [1, 0, 2, 3],  # equal times, a later row first
    ],
)
def test_rows_out_of_order_are_refused(order: list[int], batch: int) -> None:
    batches = table(ROWS, order).to_batches(max_chunksize=batch)
    with pytest.raises(pa.ArrowInvalid, match="not in the order"):
        encode(batches, ALL)
    assert plain(encode(table(ROWS).to_batches(max_chunksize=batch), ALL))[2] == [0, 3, 4]


def test_arrays_are_on_disk_without_a_name(tmp_path: Path) -> None:
    log = encode(table(ROWS).to_batches(), ALL, tmp_path)
    assert isinstance(log.items, np.memmap)
    assert isinstance(log.times, np.memmap)
    assert not any(tmp_path.iterdir())
