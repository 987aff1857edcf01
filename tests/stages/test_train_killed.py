"""A training killed with SIGKILL and started again ends with the weights of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_project import fresh_database

from recctl.files import digest, write_json
from recctl.sequences.vocabulary import Vocabulary

PARAMS = """
train:
  max_epochs: 4
  patience: 4
  batch_size: 16
  bert4rec: {max_length: 20, hidden_size: 16}
evaluate: {}
"""
SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from recctl.layout import Layout
from recctl.stages import train
from recctl.training import checkpoint
checkpoint.EVERY_SECONDS = float(sys.argv[1])
train.run(Layout.find())
"""
USERS, N_ITEMS, LENGTH = 900, 50, 12


def project(folder: Path, database: Path) -> Path:
    """A project whose sequences are split, ready to train; it gets a copy of MLflow's database."""
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
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


def start(folder: Path, every: float = 0.0) -> subprocess.Popen[bytes]:
    """A training that writes a checkpoint after so many seconds, else after every step."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(every)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[bytes]) -> str:
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_sigkill_in_mid_epoch(tmp_path: Path) -> None:
    database = fresh_database(tmp_path)
    undisturbed = project(tmp_path / "undisturbed", database)
    killed = project(tmp_path / "killed", database)
    finish(start(undisturbed, every=1000.0))

    victim = start(killed)
    deadline = time.monotonic() + 120
    while not list((killed / ".recctl" / "checkpoints").glob("*.pt")):
        assert victim.poll() is None, victim.communicate()
        assert time.monotonic() < deadline, "no checkpoint within two minutes"
        time.sleep(0.01)
    time.sleep(0.3)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not (killed / "artifacts" / "model").exists()

    output = finish(start(killed))
    assert "resumed in epoch" in output
    model = Path("artifacts/model/model.safetensors")
    assert digest(killed / model) == digest(undisturbed / model)
    curve = Path("artifacts/training/curve.csv")
    assert (killed / curve).read_text() == (undisturbed / curve).read_text()

    # killed after the end and before DVC has the outputs: nothing is trained again
    output = finish(start(killed))
    assert "nothing is left to train" in output
    assert digest(killed / model) == digest(undisturbed / model)
