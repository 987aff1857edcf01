from hypothesis import given
from hypothesis import strategies as st

from recctl.training.schedule import learning_rate


@given(step=st.integers(0, 10_000), warmup=st.integers(0, 500), decay=st.integers(1, 5_000))
def test_never_above_the_peak_nor_zero(step: int, warmup: int, decay: int) -> None:
    rate = learning_rate(step, peak=0.5, warmup=warmup, decay_steps=decay)
    assert 0 < rate <= 0.5


def test_falls_after_the_warmup_and_stays_at_a_tenth() -> None:
    rates = [learning_rate(s, peak=1.0, warmup=10, decay_steps=110) for s in range(200)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[60] == 1 - 0.9 * 50 / 100
    assert set(rates[110:]) == {1 - 0.9}
