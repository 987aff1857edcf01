"""Ranks, metrics of the rank, protocols, slices, statistics, reports."""
