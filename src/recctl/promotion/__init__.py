"""Promotion: a champion is replaced only by a model that is proven better."""
