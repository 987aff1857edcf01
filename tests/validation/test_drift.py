"""Drift between two versions, worked out by hand; and which version came before."""

from math import log2
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.errors import UserError
from recctl.validation import drift
from recctl.validation.drift import Profile


def profile(counts: dict[str, int], name: str = "films", users: int = 2) -> Profile:
    items = sorted(counts)
    table = pd.DataFrame({"item_id": items, "interactions": [counts[item] for item in items]})
    return Profile(name, users, table)


def divergence(now: dict[str, int], before: dict[str, int]) -> float:
    return float(drift.popularity(profile(now), profile(before))["divergence"].sum())


def test_the_divergence_is_that_of_the_formula():
    # p = (1/2, 1/2, 0), q = (1/2, 0, 1/2), m = (1/2, 1/4, 1/4): half of 1/2 log2(2), twice.
    table = drift.popularity(profile({"a": 2, "c": 2}), profile({"a": 5, "b": 5}))
    parts = dict(zip(table["item_id"], table["divergence"], strict=True))
    assert parts == {"b": 0.5 * log2(2) / 2, "c": 0.5 * log2(2) / 2, "a": 0.0}


def test_the_item_that_moved_most_comes_first():
    table = drift.popularity(
        profile({"a": 10, "b": 80, "c": 10}), profile({"a": 11, "b": 9, "c": 80})
    )
    assert list(table["item_id"]) == ["b", "c", "a"]
    assert table["share_before"].tolist() == [0.09, 0.8, 0.11]


def test_equal_shares_do_not_differ_and_other_items_differ_by_one_bit():
    assert divergence({"a": 1, "b": 3}, {"a": 20, "b": 60}) == 0
    assert divergence({"a": 1, "b": 3}, {"c": 7}) == pytest.approx(1)


COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1)


@given(COUNTS, COUNTS)
def test_the_divergence_is_symmetric_and_between_0_and_1(now, before):
    one, other = divergence(now, before), divergence(before, now)
    assert one == pytest.approx(other)
    assert -1e-12 <= one <= 1 + 1e-12


def test_the_volume_is_the_ratio_of_the_interactions():
    change = drift.compare(profile({"a": 3}), profile({"a": 2, "b": 2}))
    assert change.volume.to_dict("records") == [{"before": 4, "now": 3, "ratio": 0.75}]


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (None, "no previous version"),
        (profile({"a": 1}, name="books"), "no previous version of 'films'"),
        (profile({}), "no interactions to compare"),
    ],
)
def test_without_a_version_to_compare_with_there_is_a_reason(before, reason):
    change = drift.compare(profile({"a": 1}), before)
    assert change.reason is not None
    assert change.reason.startswith(reason)
    assert change.volume.empty


def test_the_version_before_is_never_the_version_itself(tmp_path):
    first, second, third = profile({"a": 1}), profile({"a": 2}), profile({"a": 3})
    folder = tmp_path / "profiles"
    assert drift.version_before(first, folder) is None
    drift.remember(first, folder)
    assert drift.version_before(first, folder) is None
    drift.remember(first, folder)
    assert _digest(drift.version_before(second, folder)) == first.digest
    drift.remember(second, folder)
    drift.remember(second, folder)
    assert _digest(drift.version_before(second, folder)) == first.digest
    assert _digest(drift.version_before(third, folder)) == second.digest


def test_going_back_to_the_first_version_compares_it_with_the_second(tmp_path):
    first, second = profile({"a": 1}), profile({"a": 2})
    for version in (first, second, first):
        drift.remember(version, tmp_path)
    assert _digest(drift.version_before(first, tmp_path)) == second.digest


def _digest(found: Profile | None) -> str:
    assert found is not None
    return found.digest


def test_a_profile_is_what_it_was_after_being_written(tmp_path):
    drift.remember(profile({"é": 3, "b": 4}, users=7), tmp_path)
    found = drift.version_before(profile({}), tmp_path)
    assert found is not None
    assert (found.name, found.users, found.interactions) == ("films", 7, 7)
    assert found.items.to_dict("list") == {"item_id": ["b", "é"], "interactions": [4, 3]}


@pytest.mark.parametrize(
    "other",
    [profile({"a": 2, "b": 1}), profile({"a": 1, "c": 2}), profile({"a": 1, "b": 2}, users=3)],
)
def test_other_data_have_another_digest(other):
    assert profile({"a": 1, "b": 2}).digest != other.digest


def test_a_damaged_profile_says_what_to_remove(tmp_path: Path):
    (tmp_path / drift.CURRENT).write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"is not a profile of the data .*; remove"):
        drift.version_before(profile({"a": 1}), tmp_path)
