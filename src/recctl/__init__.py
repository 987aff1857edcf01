"""Retrain sequential recommenders and let a new model serve only when it is proven better.

In a notebook: `recctl.Project(".")` gives a project's figures, models and decisions as DataFrames,
and `recctl.compare(model, other)` the gates' own comparison (`recctl.notebook`).
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """The version, and the notebook's part, with pandas and torch, where they are asked for."""
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("recctl")
    if name not in ("Project", "compare"):
        raise AttributeError(f"module 'recctl' has no attribute '{name}'")
    return getattr(importlib.import_module("recctl.notebook"), name)
