"""Batches beside a log of two rows."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import batches
from recctl.data.batches import Batch
from recctl.layout import Layout

LOG = "user_id,item_id,timestamp\nu,i,1\nu,,2\n"


def put(layout: Layout, name: str, rows: list[dict[str, Any]], /, **header: Any) -> Batch:
    """A batch of rows, given by what is not null in them."""
    table = pa.Table.from_pylist([{"value": 1.0, **row} for row in rows], schema=batches.SCHEMA)
    good = [row["us"] for row in rows if "cause" not in row]
    causes = [row["cause"] for row in rows if "cause" in row]
    usual = {
        "file": name,
        "source": "folder:incoming",
        "name": "a.csv",
        "sha256": "ab" * 32,
        "rows": len(rows),
        "new": len(good),
        "duplicates": 0,
        "late": 0,
        "out_of_order": 0,
        "bad": {cause: causes.count(cause) for cause in causes},
        "first_us": min(good, default=None),
        "last_us": max(good, default=None),
    }
    batch = Batch(**{**usual, **header})
    path = layout.data / "intake" / name
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table.replace_schema_metadata(batches.header(batch)), path)
    return batch


def good(user: str, item: str, us: int, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "item_id": item, "timestamp": str(us), "us": us, **more}


FIRST = [good("u", "j", 5), {"line": "what", "cause": "bad-line", "value": None}]
SECOND = [good("v", "i", 4), good("u", "i", 1_000_000), good("u", "j", 5)]
