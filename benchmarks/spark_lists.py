"""Lists for all users by MLflow's `spark_udf` of the champion, beside `recctl recommend --all`.

    python benchmarks/spark_lists.py PROJECT [--master local[2]] [-k 10]

Prints users per second of both and how many users have the same list. Needs Java 17 or newer.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import mlflow
import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from recctl import lists
from recctl.evaluation.params import EvaluateParams
from recctl.layout import Layout
from recctl.promotion import compare, history
from recctl.sequences.store import SequenceData


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("-k", type=int, default=10)
    given = parser.parse_args()
    layout = Layout(given.project.resolve())
    data, registry = SequenceData.load(layout.sequences), history.open_registry(layout)
    names = np.array(data.all_ids, dtype=object)
    rows = [
        (user, names[np.asarray(data.all_items[first:last])].tolist())
        for user, first, last in zip(data.user_ids, data.offsets, data.offsets[1:], strict=False)
    ]
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(given.master).config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    mlflow.set_tracking_uri(registry.tracking.uri)
    recommend = mlflow.pyfunc.spark_udf(
        session,
        f"models:/{registry.name}@champion",
        result_type="item_ids array<string>",
        env_manager="local",
        params={"k": given.k},
    )
    began = time.perf_counter()
    frame = session.createDataFrame(rows, "user_id string, history array<string>")
    answered = frame.select("user_id", recommend(f.struct("history"))["item_ids"]).collect()
    seconds = {"spark_udf": time.perf_counter() - began}
    filter_seen = EvaluateParams.load(layout.params).filter_seen
    _, served, _ = compare.served(layout, "champion")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "lists.parquet"
        lists.write(served, data, out, k=given.k, filter_seen=filter_seen, basis={})
        ours = pq.read_table(out).to_pydict()
    seconds["recommend --all"] = time.perf_counter() - began
    expected = dict(zip(ours["user_id"], ours["item_ids"], strict=True))
    same = sum(expected[user] == items for user, items in answered)
    for what, spent in seconds.items():
        print(f"{what:16} {len(rows) / spent:,.0f} users/s")
    print(f"the same list for {same:,} of {len(rows):,} users")


if __name__ == "__main__":
    main()
