"""A training killed with SIGKILL and started again ends with the weights of an undisturbed one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ready_project
from recctl.files import digest

SCRIPT = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from recctl.layout import Layout
from recctl.stages import train
from recctl.training import checkpoint
checkpoint.EVERY_SECONDS, left = float(sys.argv[1]), int(sys.argv[2])
save = checkpoint.Checkpoint.save
def counted(*given):
    global left
    save(*given)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoint.save = counted
train.run(Layout.find())
"""


def start(folder: Path, every: float = 0.0, saves: int = -1) -> subprocess.Popen[bytes]:
    """A training that writes a checkpoint after so many seconds, else after every step.

    It dies after so many `saves`.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(every), str(saves)],
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
    undisturbed = ready_project.make(tmp_path / "undisturbed")
    killed = ready_project.make(tmp_path / "killed")
    finish(start(undisturbed, every=1000.0))

    victim = start(killed, saves=70)
    output = victim.communicate(timeout=300)[0].decode()
    assert victim.returncode == -signal.SIGKILL, output
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
