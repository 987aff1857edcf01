"""New interactions: read from their sources, each exactly once, into a new version of `data/`."""
