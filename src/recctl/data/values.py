"""Which ids and weights ingest keeps as they are, for those that check them before it."""

import re

MISSING = ("nan", "NaN", "NaT", "null", "NULL", "None", "<NA>", r"\N")
"""What programs write for a missing id."""
FLOAT = r"^-?([0-9]([.][0-9]+)?[eE][+][0-9]+|[0-9]+[.]0)$"
"""An id that was a float; ingest removes the `.0` of integers below 2**53, others are bad."""
LARGEST = 1e300
"""A weight above it counts as infinite."""


def wrong_id(text: str) -> str | None:
    """Why ingest would set an id aside or change it; None where it would not."""
    if text in MISSING or (text < "!" and not text.strip(" \t\n\r\v\f")):
        return "is empty, or a word for a missing value"
    if "\0" in text or re.fullmatch(FLOAT, text):
        return "is a number with a point or an exponent, or holds a NUL"
    return None
