"""A project whose sequences are split, ready to train."""

from pathlib import Path

import numpy as np

import databases
from recctl.files import write_json
from recctl.sequences.vocabulary import Vocabulary

PARAMS = """
train:
  max_epochs: 4
  patience: 4
  batch_size: 16
  bert4rec: {max_length: 20, hidden_size: 16}
evaluate: {}
"""
USERS, N_ITEMS, LENGTH = 900, 50, 12


def make(folder: Path) -> Path:
    """A project whose sequences are split, ready to train."""
    folder.mkdir()
    databases.mlflow(folder)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / "params.yaml").write_text(PARAMS)
    made = folder / "artifacts" / "sequences"
    made.mkdir(parents=True)
    ends = np.arange(1, USERS + 1, dtype=np.int64) * LENGTH
    arrays = {
        "items": np.random.default_rng(0).integers(N_ITEMS, size=USERS * LENGTH).astype(np.int32),
        "times": np.arange(USERS * LENGTH, dtype=np.int64),
        "offsets": np.concatenate([[0], ends]),
        "train_end": ends - 2,
        "validation": ends - 2,
        "test": ends - 1,
    }
    for name, array in arrays.items():
        np.save(made / f"{name}.npy", array)
    items = tuple(f"i{n}" for n in range(N_ITEMS))
    Vocabulary(items, (1,) * N_ITEMS).save(made / "vocabulary.json")
    write_json(made / "report.json", {"fingerprint": "a" * 64})
    return folder
