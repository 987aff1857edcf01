"""Data sets known by name, logs of the user's own, and how either gets into data/."""
