"""A training killed with SIGKILL and started again ends with the weights of an undisturbed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ready_project
from tiny_project import fresh_database

from recctl.files import digest

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
    undisturbed = ready_project.make(tmp_path / "undisturbed", database)
    killed = ready_project.make(tmp_path / "killed", database)
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
