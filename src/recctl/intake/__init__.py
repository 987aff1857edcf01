"""New interactions: brought from their sources, each one exactly once, as a version of `data/`."""
