"""A split's log with every interaction in training, held-out ones and cold items too."""

import hashlib
import json
from pathlib import Path

import numpy as np

from recctl.files import write_json
from recctl.sequences import disk
from recctl.sequences.store import SequenceData
from recctl.sequences.vocabulary import COLD, Vocabulary

_SAME = ("times.npy", "offsets.npy", "validation.npy", "test.npy", "users.parquet")


def everything(data: SequenceData, folder: Path) -> SequenceData:
    """Write a split into an empty `folder`: all of `data`'s interactions are training.

    Items keep their numbers and cold ones follow; validation and test ask for the same targets,
    which training now holds. Arrays that do not change are links to those of `data`.
    """
    items, ids = data.all_items, data.all_ids
    for name in _SAME:
        (folder / name).symlink_to((data.folder / name).resolve())
    disk.save(folder / "items.npy", items)
    disk.save(folder / "train_end.npy", np.asarray(data.offsets[1:]))
    counts = np.bincount(items[items != COLD], minlength=len(ids)).tolist()
    titles = {**data.vocabulary.titles, **data.cold_titles}
    Vocabulary(ids, tuple(counts), titles).save(folder / "vocabulary.json")
    about = json.dumps([data.fingerprint, ids[data.vocabulary.size :]])
    fingerprint = hashlib.sha256(about.encode()).hexdigest()
    write_json(folder / "report.json", {**data.report, "fingerprint": fingerprint})
    return SequenceData.load(folder)
