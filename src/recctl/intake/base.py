"""The base files as an intake compares with them: their good rows, read once per version."""

import hashlib
import json
from pathlib import Path

from recctl.data import engine, formats, interactions
from recctl.data.params import IngestParams
from recctl.files import replacing
from recctl.layout import Layout

COLUMNS = ("user_id", "item_id", "us", "value")
"""Two good rows that agree in these are one interaction."""

_UNREAD = {"name", "items_file", "title_column", "minimum_weight", "anonymous", "engine"}
"""Settings of ingest that change nothing of how a row is read."""


def rows(layout: Layout, params: IngestParams) -> Path:
    """A parquet file of the base files' good rows, by time; made anew when they or ingest changed.

    Those of too low a weight are among them, for `ingest.minimum_weight` may change. Raises
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
            # by time, so that only what overlaps with a batch is read of it
            engine.write_parquet(connection, good.order_by("us"), temporary)
    for old in folder.iterdir():
        if old != target:
            old.unlink()
    return target


def _digest(data: Path, params: IngestParams) -> str:
    """Of what DVC and git go by to tell a file's version, and of how the files are read."""
    files = []
    for name in params.files:
        if (data / name).is_file():  # or reading it says so
            stat = (data / name).stat()
            files.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    told = json.dumps([files, params.model_dump(exclude=_UNREAD)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]
