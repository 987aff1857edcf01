"""A small project: sequences that can be followed by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.files import write_json
from recctl.sequences.vocabulary import Vocabulary

USERS, ITEMS = 60, 30
PARAMS = "train: {}\nevaluate:\n  metrics: [hr@1, hr@10, ndcg@10, mrr]\n  negatives: 5\n"


def write_sequences(folder, seed=0):
    """Users who walk the items in order, leave-one-out; user 0's target is cold, 1's is seen."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 12, USERS)
    walks = [(rng.integers(ITEMS) + np.arange(n)) % ITEMS for n in lengths]
    walks[0][-1] = -1
    walks[1][-1] = walks[1][0]
    counts = np.bincount(np.concatenate([walk[:-2] for walk in walks]), minlength=ITEMS)
    order = np.argsort(-counts, kind="stable")
    place = np.append(np.argsort(order), -1)  # COLD stays COLD
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    arrays = {
        "items": place[np.concatenate(walks)].astype(np.int32),
        "times": np.arange(offsets[-1]),
        "offsets": offsets,
        "train_end": offsets[1:] - 2,
        "validation": offsets[1:] - 2,
        "test": offsets[1:] - 1,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    pq.write_table(pa.table({"user_id": [f"u{i}" for i in range(USERS)]}), folder / "users.parquet")
    names = tuple(f"i{i}" for i in order)
    Vocabulary(names, tuple(counts[order].tolist())).save(folder / "vocabulary.json")
    write_json(folder / "report.json", {"fingerprint": f"split-{seed}"})
