"""A training killed with SIGKILL and started again ends with the weights of an undisturbed one."""

import os
import signal
from pathlib import Path

import pytest

import forked
import ready_project
from lives import SECONDS
from recctl.files import digest
from recctl.layout import Layout


def train(folder: Path, every: float, saves: int) -> None:
    """Train in this process, with a checkpoint after so many seconds, else after every step.

    It dies after so many `saves`.
    """
    import torch

    from recctl.stages import train
    from recctl.training import checkpoint

    torch.set_num_threads(1)
    os.chdir(folder)
    with Path("output").open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    save, left = checkpoint.Checkpoint.save, saves

    def counted(self: checkpoint.Checkpoint, *given: object) -> None:
        nonlocal left
        save(self, *given)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.EVERY_SECONDS, checkpoint.Checkpoint.save = every, counted
    train.run(Layout(folder))


def end_of(folder: Path, every: float = 0.0, saves: int = -1) -> tuple[int | None, str]:
    """How a training in a separate process ends, and what it prints."""
    process = forked.context().Process(target=train, args=(folder, every, saves))
    process.start()
    process.join(SECONDS)
    return process.exitcode, (folder / "output").read_text()


@pytest.mark.slow
def test_sigkill_in_mid_epoch(tmp_path: Path) -> None:
    undisturbed = ready_project.make(tmp_path / "undisturbed")
    killed = ready_project.make(tmp_path / "killed")
    assert end_of(undisturbed, every=1000.0)[0] == 0
    assert end_of(killed, saves=70)[0] == -signal.SIGKILL
    assert not (killed / "artifacts" / "model").exists()

    code, output = end_of(killed)
    assert code == 0
    assert "resumed in epoch" in output
    model = Path("artifacts/model/model.safetensors")
    assert digest(killed / model) == digest(undisturbed / model)
    curve = Path("artifacts/training/curve.csv")
    assert (killed / curve).read_text() == (undisturbed / curve).read_text()

    # killed after the end and before DVC has the outputs: nothing is trained again
    code, output = end_of(killed)
    assert code == 0
    assert "nothing is left to train" in output
    assert digest(killed / model) == digest(undisturbed / model)
