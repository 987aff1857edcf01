"""Bootstrap intervals: the multinomial shortcut against the bootstrap user by user."""

from math import sqrt

import numpy as np
import pytest

from recctl.evaluation.statistics import (
    interval,
    paired_interval,
    plain_means,
    resampled_means,
)


def rng(seed=0):
    return np.random.default_rng(seed)


HITS = np.repeat([1.0, 0.0], [300, 700])


def test_interval_of_a_share_is_near_the_normal_one():
    found = interval(HITS, 4000, rng())
    error = 1.96 * sqrt(0.3 * 0.7 / 1000)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - error, abs=0.003)
    assert found.high == pytest.approx(0.3 + error, abs=0.003)


def test_resampling_counts_is_the_bootstrap_user_by_user():
    values = np.repeat([1.0, 0.63, 0.5, 0.0], [50, 30, 120, 800])
    ours, plain = resampled_means(values, 8000, rng(1)), plain_means(values, 8000, rng(2))
    spread = values.std() / sqrt(len(values))
    assert ours.mean() == pytest.approx(values.mean(), abs=4 * spread / sqrt(8000))
    assert ours.std() == pytest.approx(plain.std(), rel=0.04)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    assert np.quantile(ours, levels) == pytest.approx(np.quantile(plain, levels), abs=spread / 10)


def test_many_distinct_values_take_the_plain_way_with_the_right_spread():
    values = rng(3).random(500)
    found = resampled_means(values, 4000, rng(4))
    assert found.std() == pytest.approx(values.std() / sqrt(500), rel=0.05)


def test_plain_means_do_not_hang_on_the_size_of_chunks(monkeypatch):
    whole = plain_means(HITS, 50, rng())
    monkeypatch.setattr("recctl.evaluation.statistics._DRAWS", 3000)
    assert len(plain_means(HITS, 50, rng())) == len(whole) == 50


def test_pairing_removes_what_both_models_share():
    easy = rng(5).random(2000) < 0.5  # both models hit the same users ...
    old = easy.astype(float)
    new = np.where(np.arange(2000) < 40, 1.0, old)  # ... and the new one 40 users for sure
    paired = paired_interval(new, old, 2000, rng())
    alone = interval(new, 2000, rng())
    assert paired.value == pytest.approx((new - old).mean())
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 4


def test_equal_models_differ_by_nothing():
    found = paired_interval(HITS, HITS, 200, rng())
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_seed_decides():
    assert interval(HITS, 500, rng(1)) == interval(HITS, 500, rng(1))
    assert interval(HITS, 500, rng(1)) != interval(HITS, 500, rng(2))


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan])])
def test_nothing_and_nan_are_our_own_mistakes(values):
    with pytest.raises(AssertionError):
        interval(values, 100, rng())


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    draws = rng(6)
    covered = 0
    for _ in range(300):
        found = interval((draws.random(400) < 0.2).astype(float), 400, draws)
        covered += found.low <= 0.2 <= found.high
    assert covered / 300 == pytest.approx(0.95, abs=0.04)  # standard error .0126
