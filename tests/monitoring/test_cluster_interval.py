"""The interval over users, against one that draws users one by one."""

import doctest

import monitoring_cases as cases
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.online import interval as module
from recctl.online.interval import by_user, greatest, interval, resampled


def by_loops(users: list[int], values: list[float], resamples: int, seed: int) -> list[float]:
    """Means of resamples, every user drawn with all of his events."""
    rng = np.random.default_rng(seed)
    mine = {user: [v for u, v in zip(users, values, strict=True) if u == user] for user in users}
    found = []
    for _ in range(resamples):
        drawn = [value for user in rng.choice(list(mine), len(mine)) for value in mine[int(user)]]
        found.append(sum(drawn) / len(drawn))
    return found


def busy_and_idle() -> tuple[list[int], list[float]]:
    """40 users of one event and 15 of twenty, each with a level of his own."""
    users = [*range(40), *(user for user in range(40, 55) for _ in range(20))]
    rng = np.random.default_rng(3)
    levels = rng.random(55)[users]
    return users, (0.8 * levels + 0.2 * rng.random(len(users))).tolist()


@pytest.mark.parametrize("many", [0, 10**9], ids=["multinomial", "user by user"])
def test_it_is_the_bootstrap_of_whole_users(monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    monkeypatch.setattr(module, "MANY", many)
    users, values = busy_and_idle()
    low, high = cases.quantiles(by_loops(users, values, 3000, seed=1))
    found = interval(np.array(users), np.array(values), 3000, np.random.default_rng(2))
    assert found.value == pytest.approx(sum(values) / len(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)


def test_it_is_wider_than_one_that_takes_events_for_independent() -> None:
    users, values = busy_and_idle()
    rng = np.random.default_rng
    whole = interval(np.array(users), np.array(values), 2000, rng(0))
    alone = interval(np.arange(len(values)), np.array(values), 2000, rng(0))
    assert whole.high - whole.low > 1.2 * (alone.high - alone.low)


def test_means_of_resamples_have_the_deviation_of_the_ratio() -> None:
    """The linearised variance of a ratio: sum of (s - mean * n)^2 over (sum of n)^2."""
    rng = np.random.default_rng(5)
    counts = rng.integers(1, 4, 3000)
    sums = rng.binomial(counts, 0.4).astype(float)
    mean = sums.sum() / counts.sum()
    deviation = np.sqrt(((sums - mean * counts) ** 2).sum()) / counts.sum()
    means = resampled(sums, counts, 4000, rng)
    assert means.std() == pytest.approx(deviation, rel=0.05)
    assert means.mean() == pytest.approx(mean, abs=deviation / 5)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30
    )
)
def test_sums_and_counts_of_users(events: list[tuple[int, float]]) -> None:
    users, values = (list(side) for side in zip(*events, strict=True))
    sums, counts = by_user(np.array(users), np.array(values))
    expected = [[v for u, v in events if u == user] for user in sorted(set(users))]
    assert sums.tolist() == [sum(mine) for mine in expected]
    assert counts.tolist() == [len(mine) for mine in expected]
    found = interval(np.array(users), np.array(values), 100, np.random.default_rng(0))
    assert min(values) <= found.low <= found.high <= max(values)


def test_the_same_seed_gives_the_same_interval() -> None:
    users, values = map(np.array, busy_and_idle())
    one, two = (interval(users, values, 200, np.random.default_rng(7)) for _ in range(2))
    assert one == two


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.6309297535714575, 1 / 3, 0.1, 0.0, 1.0])),
        min_size=1,
        max_size=60,
    ),
    st.booleans(),
)
def test_an_interval_holds_its_mean(events: list[tuple[int, float]], equal: bool) -> None:
    users = np.array([user for user, _ in events])
    values = np.array([events[0][1] if equal else value for _, value in events])
    found = interval(users, values, 100, np.random.default_rng(0))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("share", [0.05, 0.6, 0.95])
@pytest.mark.parametrize("level", [0.1, 0.01])
def test_the_greatest_mean_is_below_the_true_one_no_oftener_than_its_level(
    share: float, level: float
) -> None:
    """Skewed values of few users, of which a normal interval would miss more."""
    rng = np.random.default_rng(5)
    draws = (rng.random((2000, 60)) < share) * rng.choice([1.0, 0.3], (2000, 60))
    misses = np.mean([greatest(values, level) < share * 0.65 for values in draws])
    assert misses <= level + 3 * np.sqrt(level * (1 - level) / 2000)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(1e-6, 0.4))
def test_the_greatest_mean_is_the_largest_that_no_product_of_bets_rejects(
    values: list[float], level: float
) -> None:
    found = greatest(np.array(values), level)
    bets = [np.sqrt(2 * np.log(1 / level) / len(values)) / sd for sd in (0.1, 0.18, 0.33)]

    def rejected(mean: float) -> bool:
        allowed = [min(bet, 1 / (1 - mean)) if mean < 1 else bet for bet in bets]
        products = [np.prod([1 + bet * (mean - value) for value in values]) for bet in allowed]
        return bool(np.mean(products) > 1 / level)

    assert np.mean(values) <= found + 1e-9 <= 1 + 2e-9
    assert not rejected(max(found - 1e-6, np.mean(values)))
    assert found == 1 or rejected(min(1, found + 1e-6))
    assert greatest(np.array(values), level / 2) >= found - 1e-9


def test_examples_of_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert (result.failed, result.attempted > 0) == (0, True)


def test_the_share_of_wins_is_bounded_on_all_days_of_a_year() -> None:
    low, high = module.preferred(254, 246)
    values = np.repeat([1.0, 0.0], [254, 246])
    level = 0.05 / 2 / 365
    assert low == pytest.approx(1 - greatest(1 - values, level), abs=1e-12)
    assert high == pytest.approx(greatest(values, level), abs=1e-12)
    assert low > 0.4 > module.preferred(253, 247)[0]  # as docs/promotion.md says
    assert module.preferred(0, 0) == (0.0, 1.0)
