"""`recctl recommend --all` beside the ranking that evaluation does: users per second and memory.

    python benchmarks/lists.py [--users 6040] [--items 3416] [--mean 163] [--length 200]
        [--threads 2] [--lists-only]

BERT4Rec with random weights (d=64, 2 layers) on a generated log; -k 50, seen items left out. Both
rank the same histories, in turns. Peak memory is of the whole process; with --lists-only it is that
of the lists.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from evaluation import cases_of, random_bert4rec
from recctl import lists
from recctl.evaluation.ranking import rank_cases
from recctl.files import write_json
from recctl.recommend import Served
from recctl.sequences.protocols import NO_TARGET, Positions
from recctl.sequences.split import Split
from recctl.sequences.store import Histories, SequenceData
from recctl.sequences.vocabulary import Vocabulary
from recctl.stages import sequence_split
from training import generated


def sequences(log: Histories, vocabulary: Vocabulary, folder: Path) -> SequenceData:
    """The log as sequence-split writes it, without targets."""
    ends, none = np.asarray(log.ends), np.full(len(log), NO_TARGET)
    made = Split(
        items=log.items,
        times=np.arange(len(log.items)),
        offsets=np.concatenate([[0], ends]),
        positions=Positions(train_end=ends, validation=none, test=none),
        user_ids=pa.array([f"user-{user}" for user in range(len(log))]),
        vocabulary=vocabulary,
        cold=pa.table({"position": [], "item_id": [], "title": []}),
        fingerprint="benchmark",
    )
    sequence_split.write(made, folder)
    write_json(folder / "report.json", {"fingerprint": made.fingerprint})
    return SequenceData.load(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--items", type=int, default=3416)
    parser.add_argument("--mean", type=float, default=163.0, help="items of a history")
    parser.add_argument("--length", type=int, default=200, help="that the network reads")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lists-only", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    log = generated(given.users, given.items, given.mean)
    names = tuple(f"item-{item}" for item in range(given.items))
    vocabulary = Vocabulary(names, (1,) * given.items)
    model = random_bert4rec(given.items, given.length, torch.device("cpu"))
    rates: dict[str, list[float]] = {"recommend --all": [], "evaluation": []}
    with tempfile.TemporaryDirectory() as name:
        data, out = sequences(log, vocabulary, Path(name)), Path(name) / "lists.parquet"
        for _ in range(given.repeats):
            began = time.perf_counter()
            served = Served(model, vocabulary)
            lists.write(served, data, out, k=50, filter_seen=True, basis={})
            rates["recommend --all"].append(given.users / (time.perf_counter() - began))
            if not given.lists_only:
                ranked = rank_cases(model, cases_of(log), filter_seen=True)
                rates["evaluation"].append(given.users / ranked.seconds)
        size = out.stat().st_size / 2**20
    for what, each in rates.items():
        if each:
            span = f"{min(each):,.0f} to {max(each):,.0f}"
            print(f"{what:16} {statistics.median(each):,.0f} users/s ({span})")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{given.users:,} users, {given.items:,} items; a file of {size:,.0f} MiB")
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
