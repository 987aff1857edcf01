"""The test set: evaluate, leaderboard and promotion read the same one."""

from pathlib import Path

import numpy as np
import pytest
from small_sequences import PARAMS, USERS, write_sequences

from recctl.errors import UserError
from recctl.evaluation import protocols
from recctl.evaluation.test_set import TestSet
from recctl.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(tmp_path)
    found.params.write_text(PARAMS, encoding="utf-8")
    write_sequences(found.sequences)
    return found


def test_cases_counts_and_fingerprint_are_those_of_the_sequences(layout: Layout) -> None:
    test = TestSet.load(layout)
    assert len(test.cases) == USERS
    assert test.counts.tolist() == list(test.vocabulary.counts)
    assert test.n_items == len(test.counts)
    described = protocols.describe(test.data, test.cases, test.params)
    assert test.fingerprint == protocols.fingerprint(described)


def test_negatives_are_the_same_each_time(layout: Layout) -> None:
    first, again = TestSet.load(layout).negatives(), TestSet.load(layout).negatives()
    assert first.keys() == again.keys()
    assert all((first[name] == again[name]).all() for name in first)


def test_sequences_without_a_test_case_are_refused(layout: Layout) -> None:
    np.save(layout.sequences / "test.npy", np.full(USERS, -1))
    with pytest.raises(UserError, match="no test cases"):
        TestSet.load(layout)
