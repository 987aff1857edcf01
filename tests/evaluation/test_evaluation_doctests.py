"""The worked examples in the docstrings say what the code does."""

import doctest
import importlib

import pytest

MODULES = ["beyond_accuracy", "metrics", "params", "ranking", "statistics"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"recctl.evaluation.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
