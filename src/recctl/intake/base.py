"""The good rows of the base files, read once per version, with which an intake compares."""

import hashlib
import json
from pathlib import Path

from recctl.data import engine, formats, interactions
from recctl.data.params import IngestParams
from recctl.files import replacing
from recctl.layout import Layout

COLUMNS = ("user_id", "item_id", "us", "value")
"""Two good rows that agree in these are the same interaction."""

_UNREAD = {"name", "items_file", "title_column", "minimum_weight", "anonymous", "engine"}
"""Settings of ingest that do not affect how a row is read."""


def rows(layout: Layout, params: IngestParams) -> Path:
    """A parquet file of the base files' good rows by time, made again when they or ingest change.

    It includes rows below `ingest.minimum_weight`, because that may change. Raises
    UserError when the base files cannot be read.
    """
    folder = layout.state / "intake" / "base"
    target = folder / f"{_digest(layout.data, params)}.parquet"
    if target.is_file():
        return target
    with engine.scratch(layout.state) as scratch, engine.duckdb(scratch) as connection:
        own = params.model_copy(update={"minimum_weight": None})
        staged = formats.stage(connection, own, layout.data, scratch)
        typed = interactions.classified(staged.table, own, staged.clock)
        good = typed.filter(typed.cause.isnull()).select(*COLUMNS)
        with replacing(target) as temporary:
            # by time, so that only the part that overlaps with a batch is read
            engine.write_parquet(connection, good.order_by("us"), temporary)
    for old in folder.iterdir():
        if old != target:
            old.unlink()
    return target


def _digest(data: Path, params: IngestParams) -> str:
    """A hash of the file facts by which DVC and git detect changes, and of the settings."""
    files = []
    for name in params.files:
        if (data / name).is_file():  # otherwise reading it raises the error
            stat = (data / name).stat()
            files.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    content = json.dumps([files, params.model_dump(exclude=_UNREAD)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
