"""The five DVC stages: read params and files, call the core, write files."""
