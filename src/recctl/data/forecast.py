"""What ingest, validate and sequence-split will need for a log of so many rows."""

import json
from dataclasses import dataclass

import pyarrow.parquet as pq
from rich.filesize import decimal

from recctl.data.engine import MEMORY_LIMIT
from recctl.data.params import IngestParams
from recctl.data.plain import is_gzip
from recctl.layout import Layout

_START, _ROW = 9.0, 3.5e-6
"""Seconds: of the processes' starts, and for each row; two quiet cores (docs/scale.md)."""
_BASE, _ROW_MEMORY = 2**29, 110
"""Bytes of memory, and for each row until DuckDB's limit: it spills to disk from there on."""
_ROW_DISK = 150
"""Bytes beside the log, mostly what DuckDB spills: less below some 50 million rows."""
_LINE, _PACKED_LINE = 30, 8
"""Bytes of a row of text, and packed by gzip."""


@dataclass(frozen=True)
class Needs:
    """Time, peak memory, and disk beside the log."""

    seconds: float
    memory_bytes: int
    disk_bytes: int

    def __str__(self) -> str:
        """The needs in words."""
        memory, disk = decimal(self.memory_bytes), decimal(self.disk_bytes)
        return f"{self.seconds:,.0f} s on two cores, {memory} of memory and {disk} of disk"


def needs(rows: int) -> Needs:
    """The needs of a log on DuckDB and two cores, extrapolated from what docs/scale.md measured.

    >>> needs(100_000_000)
    Needs(seconds=359.0, memory_bytes=3758096384, disk_bytes=15000000000)
    """
    memory = _BASE + min(rows * _ROW_MEMORY, MEMORY_LIMIT)
    return Needs(round(_START + rows * _ROW, 1), memory, rows * _ROW_DISK)


def rows_about(layout: Layout) -> int | None:
    """The rows of the log without reading it: as ingest counted them, or by the files' sizes.

    None where a file is missing or cannot be read.
    """
    try:
        report = json.loads((layout.interactions / "report.json").read_text(encoding="utf-8"))
        return int(report["rows_in"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    params = IngestParams.load(layout.params)
    paths = [layout.data / name for name in params.files]
    try:
        if params.format == "parquet":
            return sum(int(pq.read_metadata(path).num_rows) for path in paths)
        return sum(
            path.stat().st_size // (_PACKED_LINE if is_gzip(path) else _LINE) for path in paths
        )
    except (OSError, ValueError):
        return None
