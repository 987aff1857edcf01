"""A log in parts of whole users: what is counted for each part fits in memory."""

from collections.abc import Iterator
from itertools import pairwise

import ibis.expr.types as ir
import numpy as np

ROWS = 5_000_000
"""Of a part, about; all of a user who has more."""


def by_users(rows: ir.Table) -> Iterator[ir.Table]:
    """The rows in parts, each row in one; those without a user are in the last part.

    Of a parquet file whose rows ascend by user, as `ingest` writes them, the engine reads only the
    row groups of each part.
    """
    named = rows.filter(rows.user_id.notnull())
    counted = named.group_by("user_id").agg(rows=named.count()).order_by("user_id").to_pyarrow()
    ends = np.cumsum(counted["rows"].to_numpy()) // ROWS
    last = counted["user_id"].take(np.flatnonzero(np.diff(ends))).to_pylist()
    for after, until in pairwise([None, *last, None]):
        if until is not None:
            part = rows.filter(rows.user_id <= until)
            yield part if after is None else part.filter(part.user_id > after)
        elif after is None:
            yield rows
        else:
            yield rows.filter((rows.user_id > after) | rows.user_id.isnull())
