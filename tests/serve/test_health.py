"""A champion is called worse than the version before by passes that both took."""

import math

from recctl.serve.health import LEVEL, Health


def health(failed: int = 0, slow: int = 0, better: int = 0) -> Health:
    return Health(4, 3, failed, slow, better)


def test_passes_are_counted_by_which_version_did_worse() -> None:
    found = health()
    for champion, other in [
        (None, 0.0),  # the champion failed
        (None, None),  # so do both with this request
        (0.05, 0.01),  # slow
        (0.015, 0.001),  # fast enough
        (0.05, 0.03),  # not twice as long
        (0.01, 0.05),  # the other was slow
        (0.05, None),  # the other failed
    ]:
        found.add(champion, other)
    assert (found.failed, found.slow, found.better) == (1, 1, 2)
    assert found.worse is None


def test_fourteen_failures_prove_it() -> None:
    assert health(failed=13).worse is None
    assert health(failed=10, slow=4).worse == (
        "version 4 failed in 10 passes and took more than 2 times as long in 4, where version 3 "
        "did not; the other way round it was 0"
    )
    assert health(better=500).worse is None
    assert health(failed=520, better=480).worse is None


def test_equal_versions_are_hardly_ever_told_apart_however_often_one_looks() -> None:
    """The exact chance that a walk with equal chances ever gets there, by its distribution."""
    going, ever = {0: 1.0}, 0.0
    for total in range(1, 401):
        after: dict[int, float] = {}
        for bad, chance in going.items():
            for more in (0, 1):
                after[bad + more] = after.get(bad + more, 0.0) + chance / 2
        proven = [bad for bad in after if health(failed=bad, better=total - bad).worse]
        ever += math.fsum(after.pop(bad) for bad in proven)
        going = after
    assert 0.0001 < ever <= LEVEL
