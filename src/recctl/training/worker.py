"""One of the processes that train a model together; torchrun starts them.

    torchrun --nproc-per-node N -m recctl.training.worker FOLDER

The folder holds `job.json`; the message of an error that the user can fix is written to `error`.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

import torch
from pydantic import BaseModel

from recctl.devices import pick
from recctl.errors import circumstance
from recctl.files import replacing
from recctl.render.console import Console
from recctl.sequences.store import SequenceData
from recctl.training.checkpoint import Checkpoint
from recctl.training.distributed import World, joined
from recctl.training.early_stopping import validation
from recctl.training.fit import fit
from recctl.training.params import TrainParams

_PR_SET_PDEATHSIG = 1


class Job(BaseModel):
    """What every process needs to know."""

    params: TrainParams
    sequences: Path
    filter_seen: bool
    checkpoints: Path
    fingerprint: str


def main(folder: Path) -> int:
    """Train with the other ranks; the exit code."""
    _die_with_parent()
    job = Job.model_validate_json((folder / "job.json").read_text(encoding="utf-8"))
    world = World(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    device = pick(job.params.device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    data = SequenceData.load(job.sequences)
    with joined(world, device, folder / "ranks"):
        try:
            fit(
                data.train(),
                data.vocabulary.size,
                job.params,
                device,
                validate=validation(data, job.filter_seen, world),
                checkpoint=Checkpoint(job.checkpoints, job.fingerprint),
                console=None if world.leads else Console(quiet=True),
                world=world,
            )
        except Exception as error:
            known = circumstance(error)
            if known is None:
                raise
            with replacing(folder / "error") as temporary:  # more than one rank may write it
                temporary.write_text(str(known), encoding="utf-8")
            return 2
    return 0


def _die_with_parent() -> None:
    """Have the kernel kill this process when torchrun has ended, for whatever reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it had ended before
            sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
