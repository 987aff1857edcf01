"""The store's views on flat arrays, and what it says of damaged files."""

from pathlib import Path

import numpy as np
import pytest

from recctl.errors import UserError
from recctl.files import write_json
from recctl.sequences.store import Cases, Histories, SequenceData
from recctl.sequences.vocabulary import COLD, Vocabulary


def lists(histories: Histories) -> list[list[int]]:
    return [history.tolist() for history in histories]


def data(folder: Path) -> SequenceData:
    """Two users: 5 6 | 7 | 8 with a cold 6, and 9, who only trains."""
    write_json(folder / "report.json", {"fingerprint": "f"})
    return SequenceData(
        folder,
        items=np.array([5, COLD, 7, 8, 9], np.int32),
        times=np.arange(5, dtype=np.int64),
        offsets=np.array([0, 4, 5]),
        train_end=np.array([2, 5]),
        validation=np.array([2, -1]),
        test=np.array([3, -1]),
    )


def test_histories_of_lists() -> None:
    histories = Histories.of([[1, 2], [], [3]])
    assert lists(histories) == [[1, 2], [], [3]]
    assert histories.lengths.tolist() == [2, 0, 1]
    assert len(Histories.of([])) == 0


def test_cold_items_leave_histories_but_not_places() -> None:
    histories = Histories.of([[COLD], [1, COLD, 2], [], [COLD, 3]])
    assert lists(histories.without_cold()) == [[], [1, 2], [], [3]]
    known = Histories.of([[1]])
    assert known.without_cold() is known


def test_overlapping_histories_share_items_without_cold_ones() -> None:
    items = np.array([1, COLD, 2, 3], np.int32)
    histories = Histories(items, np.array([0, 0, 2]), np.array([2, 4, 4]))
    assert lists(histories.without_cold()) == [[1], [1, 2, 3], [2, 3]]


def test_a_shuffled_history_keeps_its_items() -> None:
    histories = Histories.of([[1, 2, 3, 4, 5, 6], [], [9], [7, 8]]).select(np.array([3, 0, 1]))
    mixed = lists(histories.shuffled(np.random.default_rng(1)))
    assert [sorted(history) for history in mixed] == [[7, 8], [1, 2, 3, 4, 5, 6], []]
    assert mixed[1] != [1, 2, 3, 4, 5, 6]


def test_the_mean_of_each_user_is_over_its_cases() -> None:
    cases = Cases(np.array([4, 4, 7]), Histories.of([[1], [2], [3]]), np.array([2, 3, 1], np.int32))
    assert cases.n_users == 2
    assert cases.per_user(np.array([1.0, 0.5, 0.25])).tolist() == [0.75, 0.25]
    alone = cases.select(np.array([1, 2]))
    assert alone.per_user(np.array([0.5, 0.25])).tolist() == [0.5, 0.25]


def test_ties_are_with_the_interaction_before_or_after(tmp_path: Path) -> None:
    """Three users of two, three and two interactions at the times given."""
    write_json(tmp_path / "report.json", {"fingerprint": "f"})
    times = np.array([1, 1, 1, 2, 3, 3, 3])
    store = SequenceData(
        tmp_path,
        items=np.zeros(7, np.int32),
        times=times,
        offsets=np.array([0, 2, 5, 7]),
        train_end=np.array([1, 3, 6]),
        validation=np.array([-1, -1, -1]),
        test=np.array([1, 3, 5]),
    )
    assert store.tied().tolist() == [True, False, True]


def test_flat_pairs() -> None:
    rows, items = Histories.of([[1, 2], [], [3]]).select(np.array([2, 0])).flat()
    assert rows.tolist() == [0, 1, 1]
    assert items.tolist() == [3, 1, 2]


def test_cases_and_training(tmp_path: Path) -> None:
    store = data(tmp_path)
    assert lists(store.train()) == [[5, COLD], [9]]
    validation, test = store.cases("validation"), store.cases("test")
    assert (validation.users.tolist(), validation.targets.tolist()) == ([0], [7])
    assert lists(validation.histories) == [[5]]
    assert (lists(test.histories), test.targets.tolist()) == ([[5, 7]], [8])


def test_missing_and_damaged_arrays(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no .*items\.npy; it is written by 'sequence-split'"):
        SequenceData.load(tmp_path)
    for content in (b"", b"no array", b"\x93NUMPY\x01\x00\x10"):
        (tmp_path / "items.npy").write_bytes(content)
        with pytest.raises(UserError, match=r"items\.npy is damaged"):
            SequenceData.load(tmp_path)


def test_a_pickle_is_no_array(tmp_path: Path) -> None:
    np.save(tmp_path / "items.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="damaged"):
        SequenceData.load(tmp_path)


def test_vocabulary_round_trip(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("b", "é"), (3, 1), {"é": "Étude"})
    vocabulary.save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded == vocabulary
    assert loaded.size == 2
    assert loaded.index == {"b": 0, "é": 1}


@pytest.mark.parametrize("content", ["{", "[]", '{"items": [], "counts": []}', '{"items": 3}'])
def test_damaged_vocabulary(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(UserError, match="sequence-split"):
        Vocabulary.load(tmp_path / "vocabulary.json")
