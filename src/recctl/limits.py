"""Every limit on what recctl takes in, each with its unit: the one place where they stand.

docs/limits.md holds the same table; a test compares them. A limit is refused in one line that
names it and what it bounds. This module imports nothing.
"""

KIB = 2**10
MIB = 2**20
GIB = 2**30

# YAML and JSON

YAML_BYTES = 4 * MIB
"""Bytes of a YAML file that recctl reads: params.yaml, dvc.yaml, prefect.yaml, MLmodel."""
YAML_DEPTH = 50
"""Levels that a YAML file may be nested."""
YAML_NODES = 100_000
"""Values in a YAML file; an alias counts as all that it stands for."""
INTEGER_BITS = 64
"""Bits of a whole number in YAML."""

# Serving

SERVED_K = 10_000
"""Items that one history of a request to a served model may ask for."""

# Decisions

APPROVER = 200
"""Characters that are kept of the name of whoever approved a decision; the rest is cut off."""
