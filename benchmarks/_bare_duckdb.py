"""The reference for ingest and sequence-split: one short DuckDB script for one known file.

    python benchmarks/_bare_duckdb.py ml-1m.txt.gz OUT

It reads `user item` lines, orders them, keeps users with five, holds out the last two of each,
counts the vocabulary and writes the same parquet file and arrays. It checks nothing but empty
fields, knows no other format, and its files are not written atomically.
"""

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq


def run(log: Path, out: Path) -> None:
    """Read the log and write interactions, arrays and vocabulary."""
    out.mkdir(parents=True, exist_ok=True)
    con = duckdb.connect()
    con.execute(
        "create table log as select row_number() over () - 1 as row, user_id, item_id "
        "from read_csv($1, delim=' ', header=false, auto_detect=false, quote='', escape='', "
        "columns={'user_id': 'varchar', 'item_id': 'varchar'})",
        [str(log)],
    )
    con.execute(
        "copy (select user_id, item_id, make_timestamp(row) as timestamp, 1.0::double as weight, "
        "row from log where user_id is not null and item_id is not null order by user_id, row) "
        f"to '{out / 'interactions.parquet'}'"
    )
    con.execute(
        "create table core as select *, "
        "row_number() over (partition by user_id order by row desc) as back "
        f"from '{out / 'interactions.parquet'}' "
        "where user_id in (select user_id from log group by user_id having count(*) >= 5)"
    )
    con.execute(
        "create table vocabulary as select *, "
        "(row_number() over (order by n desc, item_id) - 1)::integer as index from "
        "(select item_id, count(*) as n from core where back > 2 group by item_id)"
    )
    rows = con.execute(
        "select coalesce(v.index, -1)::integer as item, c.row as time "
        "from core c left join vocabulary v using (item_id) order by c.user_id, c.row"
    ).fetchnumpy()
    users = con.sql("select user_id, count(*) as n from core group by 1 order by 1")
    users = users.to_arrow_table()
    offsets = np.concatenate([[0], np.cumsum(users["n"].to_numpy())])
    ends = offsets[1:]
    arrays = {
        "items": np.asarray(rows["item"]),
        "times": np.asarray(rows["time"]),
        "offsets": offsets,
        "train_end": ends - 2,
        "validation": ends - 2,
        "test": ends - 1,
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array)
    pq.write_table(users.select(["user_id"]), out / "users.parquet")
    words = con.execute("select item_id, n from vocabulary order by index").fetchnumpy()
    content = {"items": words["item_id"].tolist(), "counts": words["n"].tolist()}
    (out / "vocabulary.json").write_text(json.dumps(content))


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
