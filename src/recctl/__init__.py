"""Retrain sequential recommenders and let a new model serve only when it is proven better."""

__version__ = "0.1.0"
