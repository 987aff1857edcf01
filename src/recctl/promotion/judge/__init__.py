"""Judging: pure functions of arrays and the policy; no registry, no files."""
