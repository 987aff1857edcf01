"""What ingest, validate and sequence-split will need for a log of so many rows."""

from dataclasses import dataclass

from recctl.data.engine import MEMORY_LIMIT

_START, _ROW = 6.0, 2.1e-6
"""Seconds: of the processes' starts, and for each row; two quiet cores (docs/scale.md)."""
_BASE, _ROW_MEMORY = 2**29, 110
"""Bytes of memory, and for each row until DuckDB's limit: it spills to disk from there on."""
_ROW_DISK = 105
"""Bytes: 77 of what DuckDB spills, 14 of interactions, 12 of sequences."""


@dataclass(frozen=True)
class Needs:
    """Time, peak memory, and disk beside the log."""

    seconds: float
    memory_bytes: int
    disk_bytes: int


def needs(rows: int) -> Needs:
    """The needs of a log on DuckDB and two cores, extrapolated from what docs/scale.md measured.

    >>> needs(100_000_000)
    Needs(seconds=216.0, memory_bytes=3758096384, disk_bytes=10500000000)
    """
    memory = _BASE + min(rows * _ROW_MEMORY, MEMORY_LIMIT)
    return Needs(round(_START + rows * _ROW, 1), memory, rows * _ROW_DISK)
