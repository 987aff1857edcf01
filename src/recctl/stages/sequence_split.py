"""The stage `sequence-split`: interactions to histories with held-out targets."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recctl.data import engine
from recctl.files import opened_parquet, read_table, replacing_folder, require_columns, write_json
from recctl.layout import Layout
from recctl.render import summary
from recctl.sequences import disk
from recctl.sequences import split as splitting
from recctl.sequences.encode import COLUMNS, Log, encode
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.protocols import protocol
from recctl.sequences.split import Split
from recctl.sequences.store import SEVERAL, Histories
from recctl.sequences.vocabulary import COLD

_BATCH = 500_000


def run(layout: Layout) -> None:
    """Read artifacts/interactions/ and write artifacts/sequences/.

    Raises UserError when too little is left to train on or to test with.
    """
    params = SequenceSplitParams.load(layout.params)
    protocol(params.protocol)
    found, log = _log(layout, params)
    titles = _titles(layout.interactions / "items.parquet")
    split = splitting.split(log, params, titles, layout.state)
    report = _report(log, split, params, found)
    with replacing_folder(layout.sequences) as folder:
        write(split, folder)
        write_json(folder / "report.json", report)
    _show(report)


def _log(layout: Layout, params: SequenceSplitParams) -> tuple[int, Log]:
    """How many interactions there are, and those of the core."""
    path = layout.interactions / "interactions.parquet"
    require_columns(path, "ingest", COLUMNS)
    layout.state.mkdir(parents=True, exist_ok=True)
    with engine.reading(path, "ingest"), opened_parquet(path) as file:
        batches = file.iter_batches(_BATCH, columns=COLUMNS)
        return file.metadata.num_rows, encode(batches, params, layout.state)


def _titles(path: Path) -> dict[str, str]:
    columns = read_table(path, "ingest", ["item_id", "title"]).to_pydict()
    return dict(zip(columns["item_id"], columns["title"], strict=True))


def write(split: Split, folder: Path) -> None:
    """The arrays, users and vocabulary of a split, as `SequenceData` reads them."""
    arrays: dict[str, NDArray[Any]] = {
        "items": split.items,
        "times": split.times,
        "offsets": split.offsets,
        "train_end": split.positions.train_end,
        "validation": split.positions.validation,
        "test": split.positions.test,
    }
    for name, array in arrays.items():
        disk.save(folder / f"{name}.npy", array)
    pq.write_table(split.cold, folder / "cold.parquet")
    pq.write_table(pa.table({"user_id": split.user_ids}), folder / "users.parquet")
    split.vocabulary.save(folder / "vocabulary.json")


def _report(log: Log, split: Split, params: SequenceSplitParams, found: int) -> dict[str, Any]:
    positions = split.positions
    lengths = np.diff(split.offsets)
    report: dict[str, Any] = {
        "fingerprint": split.fingerprint,
        "protocol": params.protocol,
        "users": len(split.user_ids),
        "items": split.vocabulary.size,
        "cold_items": len(log.item_ids) - split.vocabulary.size,
        "interactions": len(split.items),
        "interactions_outside_core": found - len(split.items),
        "training_interactions": int((positions.train_end - split.offsets[:-1]).sum()),
        "median_length": float(np.median(lengths)),
        "longest": int(lengths.max()),
    }
    for part, targets, without in (
        ("validation", positions.validation, positions.without_history[0]),
        ("test", positions.test, positions.without_history[1]),
    ):
        asked = targets[targets >= 0]
        report[part] = {
            "users": len(asked),
            "cold_targets": int(np.count_nonzero(disk.gather(split.items, asked) == COLD)),
            "repeated_targets": splitting.repeated(log, targets),
            "users_without_history": without,
        }
    if params.targets in SEVERAL:
        asked = np.flatnonzero(positions.test >= 0)
        _, at = Histories(split.items, positions.test[asked], split.offsets[1:][asked]).positions()
        items = disk.gather(split.items, at)
        del report["test"]["repeated_targets"]  # evaluate counts them
        report["test"] |= {
            "targets": len(items),
            "cold_targets": int(np.count_nonzero(items == COLD)),
        }
    if positions.cuts is not None:
        report["targets"] = params.targets
        report["validation_from"], report["test_from"] = map(_iso, positions.cuts)
    return report


def _iso(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat()


_PART_NOTES = {
    "cold_targets": "items that are not in training",
    "repeated_targets": "items that are in the user's history",
    "users_without_history": "left out: nothing before their target",
}


def _show(report: dict[str, Any]) -> None:
    rows: dict[str, int | float | str] = {
        "users": report["users"],
        "items": report["items"],
        "interactions": report["interactions"],
        "  in training": report["training_interactions"],
        "  outside the core": report["interactions_outside_core"],
        "median history": report["median_length"],
    }
    notes = {
        "items": "the catalogue: items in training",
        "  outside the core": "left out: users or items with too few",
    }
    for part in ("validation", "test"):
        facts = report[part]
        rows[f"{part} users"] = facts["users"]
        if "targets" in facts:
            rows[f"  {part}: targets"] = facts["targets"]
        for name, note in _PART_NOTES.items():
            if facts.get(name):
                rows[f"  {part}: {name.replace('_', ' ')}"] = facts[name]
                notes[f"  {part}: {name.replace('_', ' ')}"] = note
    rows["fingerprint"] = report["fingerprint"][:12]
    if "test_from" in report:
        rows["validation from"] = report["validation_from"]
        rows["test from"] = report["test_from"]
    summary.show(f"sequence-split: {report['protocol']}", rows, notes)
