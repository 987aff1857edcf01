"""Bootstrap and randomisation by counts, against the same user by user and all possible draws."""

from itertools import combinations, product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, ks_2samp, norm

from recctl.evaluation.statistics import (
    Counted,
    bootstrap_means,
    condensed,
    counted,
    effect_size,
    holm,
    interval,
    interval_of,
    p_not_above,
    plain_means,
    resolvable,
    sign_flip_p,
    sign_flip_tail,
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
    ours, plain = (
        bootstrap_means(counted(values), 8000, rng(1)),
        plain_means(values, 8000, rng(2)),
    )
    spread = values.std() / sqrt(len(values))
    assert ours.mean() == pytest.approx(values.mean(), abs=4 * spread / sqrt(8000))
    assert ours.std() == pytest.approx(plain.std(), rel=0.04)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    assert np.quantile(ours, levels) == pytest.approx(np.quantile(plain, levels), abs=spread / 10)


def test_many_distinct_values_take_the_plain_way_with_the_right_spread():
    values = rng(3).random(500)
    found = bootstrap_means(counted(values), 4000, rng(4))
    assert found.std() == pytest.approx(values.std() / sqrt(500), rel=0.05)


def test_plain_means_do_not_depend_on_the_size_of_chunks(monkeypatch):
    whole = plain_means(HITS, 50, rng())
    monkeypatch.setattr("recctl.evaluation.statistics._DRAWS", 3000)
    assert len(plain_means(HITS, 50, rng())) == len(whole) == 50


def test_pairing_removes_what_both_models_share():
    easy = rng(5).random(2000) < 0.5  # both models hit the same users ...
    old = easy.astype(float)
    new = np.where(np.arange(2000) < 40, 1.0, old)  # ... and the new one 40 users for sure
    paired = interval(new - old, 2000, rng())
    alone = interval(new, 2000, rng())
    assert paired.value == pytest.approx((new - old).mean())
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 4


def test_equal_models_differ_by_nothing():
    found = interval(HITS - HITS, 200, rng())
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


def differences(*pairs):
    """A counted sample from (value, users) pairs."""
    values, counts = zip(*pairs, strict=True)
    return counted(np.array(values, float), np.array(counts))


def exact_means(values):
    """Every bootstrap mean of a few users, each as likely as the others."""
    return np.array([np.mean(drawn) for drawn in product(values, repeat=len(values))])


def exact_sign_flip_p(values):
    sums = [abs(np.dot(signs, values)) for signs in product([-1, 1], repeat=len(values))]
    return np.mean(np.array(sums) >= abs(np.sum(values)) - 1e-12)


def test_counted_adds_up_values_that_come_with_counts():
    found = differences((0.5, 2), (0.0, 3), (0.5, 1), (7.0, 0))
    assert found.values.tolist() == [0.0, 0.5]
    assert found.counts.tolist() == [3, 3]
    assert (found.users, found.mean) == (6, 1.5 / 6)
    assert found.deviation == pytest.approx(0.25)


def test_a_counted_sample_has_the_moments_of_its_users():
    values = rng(8).choice([-1.0, -0.37, 0.0, 0.5], 300)
    found = counted(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.deviation == pytest.approx(values.std())


SIX = [-0.5, 0.0, 0.0, 0.5, 0.5, 1.0]


def test_bootstrap_means_are_those_of_all_possible_resamples():
    exact = exact_means(SIX)  # 6**6 = 46,656 resamples, each as likely
    found = bootstrap_means(counted(np.array(SIX)), 40_000, rng())
    for level in (0.025, 0.2, 0.5, 0.8, 0.975):
        assert np.quantile(found, level) == pytest.approx(np.quantile(exact, level), abs=0.0835)
    for bound in (-0.1, 0.0, 0.26, 0.6):
        share = np.mean(exact <= bound)  # .005 is four standard errors and some rounding of sums
        assert np.mean(found <= bound) == pytest.approx(share, abs=0.01)


def test_bootstrap_means_by_counts_are_those_of_all_possible_resamples():
    # 160 users of two kinds: the number of gains among 160 drawn is binomial, exactly
    found = bootstrap_means(differences((0.0, 120), (1.0, 40)), 40_000, rng(1))
    for gains in (28, 35, 40, 45, 52):
        exact = binom.cdf(gains, 160, 0.25)
        share = np.mean(found <= gains / 160 + 1e-9)
        assert share == pytest.approx(exact, abs=4 * sqrt(0.25 / 40_000))


def test_bootstrap_means_of_counts_and_of_users_have_one_distribution(monkeypatch):
    sample = differences((-1.0, 40), (-0.37, 70), (0.0, 800), (0.5, 90), (1.0, 60))
    ours = bootstrap_means(sample, 20_000, rng(1))
    monkeypatch.setattr("recctl.evaluation.statistics.MANY", 10**9)
    plain = bootstrap_means(sample, 20_000, rng(2))
    assert not np.array_equal(ours, plain)
    # Kolmogorov-Smirnov: at 20,000 each the statistic exceeds .0195 once in a thousand times
    assert ks_2samp(ours, plain).statistic < 0.0195


@pytest.mark.parametrize("users", [1, 30])
def test_bootstrap_means_of_the_negated_sample_are_negated(users):
    sample = differences((-0.5, 2 * users), (0.0, 5 * users), (1.0, 3 * users))
    negated = differences((0.5, 2 * users), (0.0, 5 * users), (-1.0, 3 * users))
    assert np.array_equal(
        bootstrap_means(sample, 500, rng(9)), -bootstrap_means(negated, 500, rng(9))
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_no_mean_is_minus_zero(sign: int) -> None:
    """A table would show it as -0.000."""
    means = bootstrap_means(counted(sign * np.repeat([0.0, 1.0], [399, 1])), 500, rng())
    assert (means == 0).any()
    assert not np.signbit(means[means == 0]).any()


def test_interval_of_bounds_the_middle_95_percent():
    found = interval_of(np.arange(1001) / 1000, differences((0.0, 1), (1.0, 1)))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.025, 0.975))


@pytest.mark.parametrize(
    "values",
    [
        [1, 1, 1, 1, 1, 1],  # only +6 and -6 reach 6: 2 / 2**6
        [0.5, 0.5, 1.0, -0.37, 0.0, 0.0, 1.0, 0.63],
        [1, -1, 1, 0, 0.5, -0.5],
        [0.3, 0.3, 0.3, -0.9, 0.1, 0.1, 0.1, 0.1, 0.1],
        [-1, -1, -0.5, 0.5, -1, -0.63, -0.63, 0, -0.5, -0.5],
    ],
)
def test_sign_flip_p_is_that_of_all_sign_patterns(values):
    values = np.array(values, float)
    exact = exact_sign_flip_p(values)
    found = sign_flip_p(counted(values), 40_000, rng(2))
    assert found == pytest.approx(exact, abs=4 * sqrt(0.25 / 40_000))
    assert exact_sign_flip_p(np.ones(6)) == 2 / 2**6


def test_sign_flip_by_counts_is_flipping_user_by_user():
    values = np.repeat([-1.0, -0.37, 0.0, 0.5, 1.0], [14, 20, 200, 30, 22])
    sums = np.array([rng(i).choice([-1, 1], len(values)) @ values for i in range(5000)])
    plain = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-9)
    assert 0.01 < plain < 0.5
    assert sign_flip_p(counted(values), 40_000, rng()) == pytest.approx(plain, abs=0.01)


def test_sign_flip_p_is_never_zero_and_one_where_nothing_differs():
    assert sign_flip_p(differences((1.0, 500)), 1000, rng()) == 1 / 1001
    assert sign_flip_p(differences((0.0, 500)), 1000, rng()) == 1.0
    assert sign_flip_p(differences((-0.5, 50), (0.5, 50)), 1000, rng()) == 1.0


def test_sign_flip_p_is_uniform_where_models_are_exchangeable():
    draws = rng(10)
    values = [draws.choice([-1.0, -0.5, 0.0, 0.5, 1.0], 300) for _ in range(400)]
    found = np.array([sign_flip_p(counted(one), 400, draws) for one in values])
    for level in (0.05, 0.2, 0.5):
        error = 4 * sqrt(level * (1 - level) / 400)
        assert np.mean(found <= level) == pytest.approx(level, abs=error)


def test_p_not_above_agrees_with_the_interval():
    sample = differences((-0.5, 90), (0.0, 800), (0.5, 110))
    means = bootstrap_means(sample, 10_000, rng())
    low = interval_of(means, sample).low
    assert p_not_above(means, low - 0.001) < 0.025 < p_not_above(means, low + 0.001)
    assert p_not_above(means, -9.0) == 1 / 10_001
    assert p_not_above(means, 9.0) == 1.0


def closed_test(p_values):
    """Holm by its definition: the largest Bonferroni p of all intersections with a hypothesis."""
    places = range(len(p_values))
    groups = [set(c) for size in places for c in combinations(places, size + 1)]
    return [
        max(min(1, len(g) * min(p_values[i] for i in g)) for g in groups if place in g)
        for place in places
    ]


def test_holm_on_a_worked_example():
    # sorted .005 .01 .03 .04: times 4, 3, 2, 1 = .02 .03 .06 .04, and none below one before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_over_all_intersections(p_values):
    assert holm(p_values) == pytest.approx(closed_test(p_values))


def test_effect_size_and_the_resolvable_difference():
    sample = differences((0.0, 75), (1.0, 25))  # mean 1/4, deviation sqrt(3)/4
    assert effect_size(sample) == pytest.approx(1 / sqrt(3))
    assert resolvable(sample) == pytest.approx((1.959964 + 0.841621) * sqrt(3) / 4 / 10)
    assert effect_size(differences((0.0, 10))) is None
    assert resolvable(differences((0.0, 10))) == 0


def test_a_resolvable_difference_is_found_four_times_in_five():
    draws, found = rng(11), 0
    spread = sqrt(0.2)  # of -1, 0, 1 at .1, .8, .1
    gain = (1.959964 + 0.841621) * spread / sqrt(1000)
    for _ in range(400):
        values = draws.choice([-1.0, 0.0, 1.0], 1000, p=[0.1 - gain / 2, 0.8, 0.1 + gain / 2])
        sample = counted(values)
        found += interval_of(bootstrap_means(sample, 400, draws), sample).low > 0
    assert found / 400 == pytest.approx(0.8, abs=0.08)  # four standard errors


def test_a_large_sample_of_many_values_is_condensed_without_moving_its_mean():
    draws = rng(12)
    values = 1 / draws.integers(1, 3000, 150_000) - 1 / draws.integers(1, 3000, 150_000)
    sample = counted(values)
    found = condensed(sample)
    assert len(sample.values) > 10_000
    assert len(found.values) <= 512
    assert found.users == 150_000
    assert found.mean == pytest.approx(sample.mean, abs=1e-12)
    assert found.deviation == pytest.approx(sample.deviation, rel=0.01)
    ours, plain = bootstrap_means(sample, 2000, rng(13)), plain_means(values, 2000, rng(14))
    spread = values.std() / sqrt(len(values))
    assert np.quantile(ours, [0.025, 0.5, 0.975]) == pytest.approx(
        np.quantile(plain, [0.025, 0.5, 0.975]), abs=0.25 * spread
    )
    assert sign_flip_p(sample, 400, rng(15)) == pytest.approx(
        2 * (1 - norm.cdf(abs(sample.mean) / spread)), abs=0.1
    )


def test_a_small_sample_or_one_of_few_values_is_not_condensed():
    small = counted(rng(16).random(5000))
    few = differences(*[(value, 1000) for value in range(500)])
    assert condensed(small) is small
    assert condensed(few) is few


@pytest.mark.parametrize("seed", range(50))
def test_means_that_are_equal_but_for_rounding_have_a_direction(seed: int) -> None:
    """The same values in another order: a mean of 1e-19 on one side, of -1e-19 on the other."""
    draw = rng(seed)
    values = 1 / np.log2(draw.integers(1, 11, 300) + 1)
    sample = counted(values - draw.permutation(values))
    negated = Counted(-sample.values[::-1], sample.counts[::-1])
    one, other = (bootstrap_means(each, 100, rng()) for each in (sample, negated))
    assert np.array_equal(one, -other)


METRIC = st.sampled_from([0.0, 1.0, 1 / 3, 0.6309297535714575, 0.1, 0.7]) | st.floats(0, 1)


@given(st.lists(METRIC, min_size=1, max_size=80), st.integers(1, 80), st.integers(0, 5))
def test_an_interval_holds_its_mean(values, times, seed):
    """Equal values above all: their mean is a rounding away from the resamples' means."""
    every = np.array(values * times)
    found = interval(every, 100, rng(seed))
    assert found.low <= found.value <= found.high
    assert found.value == every.mean()
    of_sample = interval_of(bootstrap_means(counted(every), 100, rng(seed)), counted(every))
    assert of_sample.low <= of_sample.value <= of_sample.high


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=12))
def test_the_tail_of_sign_flips_is_that_of_all_of_them(values):
    sample = np.array(values) / 10
    every = np.array(list(product((-1, 1), repeat=len(sample)))) @ np.abs(sample)
    chance = float((every >= sample.sum() - 1e-9).mean())
    above = float((every > sample.sum() + 1e-9).mean())
    found = sign_flip_tail(counted(sample))
    # with few different sums the approximation, of a continuous one, is between their two chances
    assert 0.5 * above - 0.01 <= found <= 1.6 * chance + 0.01


def test_the_tail_of_sign_flips_far_out_is_exact_for_one_size_and_near_for_several():
    hits = counted(np.repeat([1.0, -1.0, 0.0], [90, 40, 3000]))
    assert sign_flip_tail(hits) == pytest.approx(binom.sf(89, 130, 0.5))
    # sums of two sizes, by convolution
    gains = counted(np.repeat([1.0, -1.0, 0.63, -0.63, 0.0], [60, 30, 70, 41, 5000]))
    ups = 2 * np.arange(91) - 90, 2 * np.arange(112) - 111
    chances = np.outer(binom.pmf(np.arange(91), 90, 0.5), binom.pmf(np.arange(112), 111, 0.5))
    sums = ups[0][:, None] + 0.63 * ups[1][None, :]
    exact = chances[sums >= 60 - 30 + 0.63 * (70 - 41) - 1e-9].sum()
    assert exact < 3e-4
    assert sign_flip_tail(gains) == pytest.approx(exact, rel=0.05)


def test_the_tail_of_sign_flips_where_nothing_or_everything_differs():
    assert sign_flip_tail(counted(np.zeros(5))) == 1.0
    assert sign_flip_tail(counted(np.array([0.3, 0.5, 0.2]))) == 0.125
    assert sign_flip_tail(counted(np.array([-0.3, -0.5]))) == 1.0
    assert sign_flip_tail(counted(np.array([0.3, -0.3, 0.1, -0.1]))) == 0.5
    above = counted(np.full(50, 0.02))
    assert sign_flip_tail(above, 0.01) == pytest.approx(0.5**50)
    assert sign_flip_tail(above, 0.03) == 1.0
