"""The split on rows one can follow by eye, and against plain Python on rows one cannot."""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_cases import Row, cold_hidden, core_of, encoded, expected, found, split

from recctl.errors import UserError
from recctl.sequences import disk
from recctl.sequences import split as splitting
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.vocabulary import COLD

QUICK = settings(max_examples=50, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    """Logs of a few rows are read in parts too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "PART", 4)
        patch.setattr("recctl.sequences.protocols._BINS", 3)
        yield


# Time runs down the lines. Ann sees five, Bob three, Cy two.
FILMS: list[Row] = [
    ("ann", "p", 10),
    ("bob", "p", 11),
    ("ann", "q", 12),
    ("cy", "q", 13),
    ("ann", "r", 14),
    ("bob", "q", 15),
    ("cy", "p", 16),
    ("ann", "q", 17),
    ("bob", "s", 18),
    ("ann", "t", 19),
]


def test_leave_one_out_by_hand() -> None:
    made = split(FILMS)
    # ann: p q r | q | t    bob: p | q | s    cy: q p, too short for targets
    assert made.offsets.tolist() == [0, 5, 8, 10]
    assert made.positions.train_end.tolist() == [3, 6, 10]
    assert made.positions.validation.tolist() == [3, 6, -1]
    assert made.positions.test.tolist() == [4, 7, -1]
    # Training holds p three times, q twice and r once; s and t are cold.
    assert made.vocabulary.items == ("p", "q", "r")
    assert made.vocabulary.counts == (3, 2, 1)
    assert made.items.tolist() == [0, 1, 2, 1, COLD, 0, 1, COLD, 1, 0]
    assert made.times.tolist() == [10, 12, 14, 17, 19, 11, 15, 18, 13, 16]
    assert made.user_ids.to_pylist() == ["ann", "bob", "cy"]


def test_global_time_by_hand() -> None:
    made = split(FILMS, protocol="global-time", test_from="1970-01-01T00:00:00.000016Z")
    # Six of ten lie before the test cut at 16; the last tenth of those is one: the cut is 15.
    assert made.positions.cuts == (15, 16)
    # ann: p q r || q t    bob: p | q | s    cy: q || p, all test cuts at 16
    assert made.positions.train_end.tolist() == [3, 6, 9]
    assert made.positions.validation.tolist() == [-1, 6, -1]
    assert made.positions.test.tolist() == [3, 7, 9]
    assert made.positions.without_history == (0, 0)


def test_global_time_leaves_out_users_without_a_history() -> None:
    rows: list[Row] = [("a", "p", 1), ("b", "p", 2), ("a", "q", 3), ("c", "q", 3), ("b", "q", 4)]
    rows += [("d", "p", 5), ("a", "p", 5)]
    made = split(
        rows, protocol="global-time", test_from="1970-01-01T00:00:00.000005Z", validation_share=0.5
    )
    # Before 5 there are five; the last half of them begins with the fourth: at 3, with its tie.
    assert made.positions.cuts == (3, 5)
    assert made.positions.validation.tolist() == [1, 4, -1, -1]
    assert made.positions.test.tolist() == [2, -1, -1, -1]
    assert made.positions.without_history == (1, 1)  # c in validation, d in test


def test_the_last_share_is_rounded_down_and_keeps_ties_together() -> None:
    rows: list[Row] = [("a", f"i{n}", n // 2) for n in range(20)]
    rows.append(("b", "i0", 0))
    # 21 rows: the last 10% are 2 (18.9 rounded up come first), which are those at time 9.
    made = split(rows, protocol="global-time", test_share=0.1, validation_share=0.1)
    assert made.positions.cuts == (8, 9)
    # 19 remain; 17.1, rounded up to 18, come first: the 19th is at 8, and so is its twin.


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_a_share_of_ten_is_whole_rows(share: float) -> None:
    rows: list[Row] = [("ab"[n % 2], f"i{n}", n) for n in range(10)]
    made = split(rows, protocol="global-time", test_share=share, validation_share=0.5)
    assert made.positions.cuts[1] == 10 - round(10 * share)


def test_popularity_is_counted_in_training_only() -> None:
    rows: list[Row] = [(f"u{n}", "hit", 9) for n in range(5)]
    rows += [(f"u{n}", "b", 1) for n in range(5)] + [(f"u{n}", "a", 2) for n in range(5)]
    rows += [("u0", "a", 0)]
    made = split(rows)
    # Each reads b, a, hit: b trains, a validates, hit tests; u0 reads a once more before.
    assert made.vocabulary.items == ("b", "a")
    assert made.vocabulary.counts == (5, 1)


def test_ties_of_popularity_go_by_the_bytes_of_the_id() -> None:
    rows: list[Row] = [("u", item, n) for n, item in enumerate(["é", "b", "10", "9", "B"])]
    rows += [("u", "x", 8), ("u", "y", 9), ("v", "b", 0)]
    assert split(rows).vocabulary.items == ("b", "10", "9", "B", "é")


def test_users_with_too_few_are_left_out() -> None:
    made = split(FILMS, minimum_user_interactions=3)
    assert made.user_ids.to_pylist() == ["ann", "bob"]


def test_both_minima_are_repeated_until_they_hold() -> None:
    rows: list[Row] = [
        ("a", "p", 1),
        ("a", "q", 2),
        ("b", "p", 3),
        ("b", "q", 4),
        ("c", "q", 5),
        ("c", "r", 6),  # r is rare; without it c is, too
    ]
    log = encoded(
        rows, SequenceSplitParams(minimum_user_interactions=2, minimum_item_interactions=2)
    )
    assert log.user_ids.to_pylist() == ["a", "b"]
    assert log.item_ids.to_pylist() == ["p", "q"]


def test_repeated_targets_are_counted() -> None:
    params = SequenceSplitParams(minimum_user_interactions=1)
    log = encoded(FILMS, params)
    made = splitting.split(log, params, {})
    assert splitting.repeated(log, made.positions.validation) == 1  # ann's q
    assert splitting.repeated(log, made.positions.test) == 0


def test_titles_are_those_of_the_catalogue() -> None:
    params = SequenceSplitParams(minimum_user_interactions=1)
    made = splitting.split(encoded(FILMS, params), params, {"p": "Psycho", "t": "Tron"})
    assert made.vocabulary.titles == {"p": "Psycho"}


@pytest.mark.parametrize(
    ("rows", "chosen", "words"),
    [
        ([], {}, "no user has at least 1 interactions"),
        (FILMS, {"minimum_user_interactions": 9}, "no user has at least 9 interactions"),
        (FILMS, {"minimum_item_interactions": 6}, "with items that have at least 6"),
        ([("a", f"i{n}", n) for n in range(9)], {}, "only one user"),
        ([(f"u{n % 3}", "i", n) for n in range(9)], {}, "only one item"),
        ([(f"u{n}", f"i{n}", n) for n in range(9)], {}, "no user has three interactions"),
        (
            [(f"u{n}", f"i{n}", n) for n in range(9)],
            {"protocol": "global-time"},
            "both sides of the cut",
        ),
        (FILMS, {"protocol": "global-time", "test_from": "2030-01-01"}, "nothing to test with"),
        (FILMS, {"protocol": "global-time", "test_from": "1960-01-01"}, "nothing to train on"),
        (FILMS, {"protocol": "global-time", "test_from": "soon"}, "not an ISO 8601 time"),
        (FILMS, {"protocol": "leave-on-out"}, "did you mean 'leave-one-out'?"),
        ([("a", "p", 5), ("b", "q", 5)], {"protocol": "global-time"}, "nothing to train on"),
    ],
)
def test_too_little_is_said_in_one_line(
    rows: list[Row], chosen: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError) as failure:
        split(rows, **chosen)
    assert words in str(failure.value)
    assert "\n" not in str(failure.value)


logs = st.lists(
    st.tuples(st.sampled_from("abcdé"), st.sampled_from("pqrst"), st.integers(0, 15)),
    min_size=1,
    max_size=40,
)
protocols = st.one_of(
    st.fixed_dictionaries({"protocol": st.just("leave-one-out")}),
    st.fixed_dictionaries(
        {
            "protocol": st.just("global-time"),
            "test_share": st.floats(0.05, 0.6),
            "validation_share": st.floats(0.05, 0.6),
            "targets": st.sampled_from(["first", "last", "successive", "all"]),
        }
    ),
)


@QUICK
@given(logs, protocols, st.integers(1, 4), st.integers(1, 3))
def test_the_split_is_what_plain_python_makes_of_it(
    rows: list[Row], chosen: dict[str, object], by_user: int, by_item: int
) -> None:
    minima = {"minimum_user_interactions": by_user, "minimum_item_interactions": by_item}
    try:
        made = split(rows, **chosen, **minima)
    except UserError:
        return
    params = SequenceSplitParams.model_validate(chosen | minima)
    wanted = expected(rows, params, made.positions.cuts or (0, 0))
    assert found(made, params.targets) == cold_hidden(wanted)
    counts = Counter(item for part in wanted for item in part.training)
    ranked = sorted(counts, key=lambda item: (-counts[item], item.encode()))
    assert list(made.vocabulary.items) == ranked
    assert list(made.vocabulary.counts) == [counts[item] for item in ranked]


@QUICK
@given(logs, protocols, st.randoms(use_true_random=False))
def test_what_always_holds(rows: list[Row], chosen: dict[str, object], random: object) -> None:
    try:
        made = split(rows, **chosen)
    except UserError:
        return
    starts, ends, positions = made.offsets[:-1], made.offsets[1:], made.positions
    assert made.offsets[0] == 0
    assert made.offsets[-1] == len(made.items) == len(made.times) == len(rows)
    assert np.all(starts < ends)
    assert np.all((starts <= positions.train_end) & (positions.train_end <= ends))
    for targets in (positions.validation, positions.test):
        asked = targets >= 0
        assert np.all(targets[asked] >= positions.train_end[asked])
        assert np.all(targets[asked] > starts[asked])
        assert np.all(targets[asked] < ends[asked])
    both = (positions.validation >= 0) & (positions.test >= 0)
    assert np.all(positions.validation[both] < positions.test[both])
    trained = made.items[splitting.training(made.offsets, positions.train_end)]
    assert sorted(set(trained.tolist())) == list(range(made.vocabulary.size))
    assert np.bincount(trained).tolist() == list(made.vocabulary.counts)
    for start, end in zip(starts, ends, strict=True):
        assert np.all(np.diff(made.times[start:end]) >= 0)


@QUICK
@given(logs, st.integers(1, 5), st.integers(1, 4))
def test_the_core_is_the_largest_that_keeps_both_minima(
    rows: list[Row], by_user: int, by_item: int
) -> None:
    log = encoded(
        rows,
        SequenceSplitParams(minimum_user_interactions=by_user, minimum_item_interactions=by_item),
    )
    wanted = core_of(list(enumerate(rows)), by_user, by_item)
    assert len(log.items) == len(wanted)
    assert log.user_ids.to_pylist() == sorted({r[0] for _, r in wanted}, key=str.encode)
    assert log.item_ids.to_pylist() == sorted({r[1] for _, r in wanted}, key=str.encode)


@QUICK
@given(st.permutations(FILMS))
def test_shuffling_a_log_of_distinct_times_changes_nothing(rows: list[Row]) -> None:
    assert split(rows).fingerprint == split(FILMS).fingerprint


def test_the_fingerprint_tells_splits_apart() -> None:
    later = [(user, item, time + (time == 19)) for user, item, time in FILMS]
    renamed = [(user.replace("cy", "di"), item, time) for user, item, time in FILMS]
    renamed_target = [(user.replace("bob", "bo"), item, time) for user, item, time in FILMS]
    other_item = [(user, item.replace("r", "z"), time) for user, item, time in FILMS]
    prints = [
        split(FILMS).fingerprint,
        split(FILMS, protocol="global-time").fingerprint,
        split(FILMS, protocol="global-time", validation_share=0.11).fingerprint,
        *(
            split(FILMS, protocol="global-time", targets=kind).fingerprint
            for kind in ("last", "successive", "all")
        ),
        split(FILMS, minimum_user_interactions=3).fingerprint,
        split(later).fingerprint,
        split(renamed_target).fingerprint,
        split(other_item).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert all(len(one) == 64 for one in prints)
    # A user without a target is not asked anything, whatever the name.
    assert split(renamed).fingerprint == split(FILMS).fingerprint


def test_settings_of_another_protocol_do_not_count() -> None:
    assert split(FILMS, test_share=0.3).fingerprint == split(FILMS).fingerprint


def test_targets_belong_to_global_time() -> None:
    with pytest.raises(ValueError, match="targets belongs to the protocol global-time"):
        SequenceSplitParams(targets="last")


def test_the_fingerprint_of_first_targets_is_that_of_before_there_were_others() -> None:
    """Computed by the version without the setting `targets`; registered versions keep it."""
    assert split(FILMS, protocol="global-time", targets="first").fingerprint == (
        "d532a94b6232917d7575b1ee5989216a758e6f9ef2c10dd74986cb2ee964ffda"
    )


def test_the_fingerprint_is_the_same_on_every_platform() -> None:
    about = (
        '{"items": ["p", "q", "r"], "protocol": "leave-one-out", "settings": {}, '
        '"users": ["ann", "bob"], "version": 1}'
    )
    items = struct.pack("<10i", 0, 1, 2, 1, -1, 0, 1, -1, 1, 0)
    times = struct.pack("<10q", 10, 12, 14, 17, 19, 11, 15, 18, 13, 16)
    offsets = struct.pack("<4q", 0, 5, 8, 10)
    positions = struct.pack("<9q", 3, 6, 10, 3, 6, -1, 4, 7, -1)
    content = about.encode() + items + times + offsets + positions
    assert split(FILMS).fingerprint == hashlib.sha256(content).hexdigest()
