"""The stage `sequence-split`: interactions to histories with held-out targets."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import engine
from recctl.data.params import IngestParams
from recctl.files import missing, read_json, replacing_folder, write_json
from recctl.layout import Layout
from recctl.sequences import split as splitting
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.protocols import protocol


def run(layout: Layout) -> None:
    """Read artifacts/interactions/ and write artifacts/sequences/."""
    params = SequenceSplitParams.load(layout.params)
    protocol(params.protocol)
    path = layout.interactions / "interactions.parquet"
    if not path.is_file():
        raise missing(path, "ingest")
    with engine.connected(IngestParams.load(layout.params).engine, layout.state) as connection:
        interactions = connection.read_parquet(path)
        core = splitting.core(
            interactions, params.minimum_user_interactions, params.minimum_item_interactions
        )
        narrow = core.select("user_id", "item_id", "timestamp", "row")
        log = splitting.encode(engine.batches(connection, narrow))
    titles = pq.read_table(layout.interactions / "items.parquet").to_pydict()
    split = splitting.split(log, params, dict(zip(titles["item_id"], titles["title"], strict=True)))
    before = read_json(layout.interactions / "report.json", "ingest")
    report = {
        "fingerprint": split.fingerprint,
        "users": len(split.user_ids),
        "items": split.vocabulary.size,
        "interactions": len(split.items),
    }
    with replacing_folder(layout.sequences) as folder:
        write(split, folder)
        write_json(folder / "report.json", report)
    print(report)


def write(split: splitting.Split, folder: Path) -> None:
    """The arrays, users and vocabulary of a split, as `SequenceData` reads them."""
    arrays: dict[str, Any] = {
        "items": split.items,
        "times": split.times,
        "offsets": split.offsets,
        "train_end": split.positions.train_end,
        "validation": split.positions.validation,
        "test": split.positions.test,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    pq.write_table(pa.table({"user_id": split.user_ids}), folder / "users.parquet")
    split.vocabulary.save(folder / "vocabulary.json")
