"""Retrain sequential recommenders and let a new model serve only when it is proven better.

In a notebook: `recctl.Project(".")` gives a project's figures, models and decisions as DataFrames,
and `recctl.compare(model, other)` the gates' own comparison (`recctl.notebook`).
"""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the notebook's part, with pandas and torch, only where it is asked for."""
    if name not in ("Project", "compare"):
        raise AttributeError(f"module 'recctl' has no attribute '{name}'")
    return getattr(importlib.import_module("recctl.notebook"), name)
