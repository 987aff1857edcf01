"""Recommendations for every user of the data, as one Parquet file; a killed run is continued."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.evaluation.ranking import NO_ITEM, top_lists
from recctl.files import replacing, write_json
from recctl.recommend import Served
from recctl.sequences.store import Histories, SequenceData

USERS_AT_ONCE = 50_000
"""Users of a part: what is held in memory, and what a killed run loses at most."""

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_ids", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
    ]
)


def write(
    served: Served,
    data: SequenceData,
    out: Path,
    *,
    k: int,
    filter_seen: bool,
    basis: dict[str, str],
    say: Callable[[str], None] = lambda line: None,
) -> int:
    """Write `user_id`, `item_ids` and `scores`, a row per user, best items first; how many users.

    Histories hold all of a user's interactions, without items that the model does not know. Parts
    are kept beside `out` until all are there; those of a killed run are used again where `basis`,
    which says what the lists are made from, is the same.
    """
    served.check(filter_seen=filter_seen)
    parts = out.with_name(f".{out.name}.parts")
    made_from = {**basis, "k": k, "filter_seen": filter_seen, "split": data.fingerprint}
    kept = parts / "basis.json"
    if not kept.is_file() or json.loads(kept.read_text(encoding="utf-8")) != made_from:
        shutil.rmtree(parts, ignore_errors=True)
        write_json(kept, made_from)
    users = len(data.user_ids)
    names = []
    for first in range(0, users, USERS_AT_ONCE):
        names.append(parts / f"{first}.parquet")
        if not names[-1].exists():
            rows = slice(first, min(first + USERS_AT_ONCE, users))
            table = _lists(served, data, rows, k, filter_seen)
            with replacing(names[-1]) as temporary:
                pq.write_table(table, temporary)
        say(f"{min(first + USERS_AT_ONCE, users):,} of {users:,} users")
    with replacing(out) as temporary, pq.ParquetWriter(temporary, SCHEMA) as file:
        for name in names:
            file.write_table(pq.read_table(name, schema=SCHEMA))
    shutil.rmtree(parts)
    return users


def _lists(served: Served, data: SequenceData, users: slice, k: int, filter_seen: bool) -> pa.Table:
    items, scores = top_lists(
        served.model, _histories(served, data, users), k, filter_seen=filter_seen
    )
    there = items != NO_ITEM
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int32)
    ids = pa.array(served.vocabulary.items, pa.string()).take(pa.array(items[there]))
    columns = [
        pa.array(data.user_ids[users], pa.string()),
        pa.ListArray.from_arrays(offsets, ids),
        pa.ListArray.from_arrays(offsets, pa.array(scores[there])),
    ]
    return pa.table(columns, schema=SCHEMA)


def _histories(served: Served, data: SequenceData, users: slice) -> Histories:
    """All interactions of some users, by the model's own item numbers."""
    index = served.vocabulary.index
    numbers = [index.get(item, -1) for item in data.all_ids]
    known_as = np.array([*numbers, -1], np.int32)  # the last one for COLD
    offsets = data.offsets[users.start : users.stop + 1]
    given = known_as[data.all_items[offsets[0] : offsets[-1]]]
    known = given >= 0
    ends = np.concatenate([[0], np.cumsum(known)])[offsets - offsets[0]]
    return Histories(given[known], ends[:-1], ends[1:])
