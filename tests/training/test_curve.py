"""Whether a training curve had flattened."""

import doctest

from recctl.training import curve


def test_the_end_is_the_last_third_and_four_at_least() -> None:
    values = [(epoch, 0.1) for epoch in range(1, 101)]
    assert curve.end(values) == values[66:]
    assert curve.end(values[:5]) == values[1:5]
    assert curve.end(values[:2]) == values[:2]
    assert curve.end([]) == []


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(curve)
    assert result.attempted > 2
    assert result.failed == 0
