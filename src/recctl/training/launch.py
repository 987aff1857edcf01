"""Train a model on a project's sequences: in this process, or in several under torchrun."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from recctl import supervise
from recctl.devices import pick
from recctl.errors import UserError
from recctl.models import NEURAL
from recctl.models.blend import Blend
from recctl.render.console import Console
from recctl.render.text import echo
from recctl.sequences.store import SequenceData
from recctl.training import worker
from recctl.training.blend import blended
from recctl.training.checkpoint import Checkpoint
from recctl.training.early_stopping import validation
from recctl.training.fit import fit
from recctl.training.loop import Fit
from recctl.training.params import TrainParams
from recctl.training.progress import Epoch

_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def fit_project(
    data: SequenceData,
    params: TrainParams,
    filter_seen: bool,
    checkpoint: Checkpoint,
    *,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
    console: Console | None = None,
) -> Fit:
    """Train the model that the params name on the training sequences of a split.

    With several processes `on_epoch` is not called; the result has the curve. Raises UserError as
    `fit` does, and for more processes than the machine has GPUs.
    """
    assert params.filter_seen is not None, "see TrainParams.ranked"
    device = pick(params.device)
    console = console or Console()
    count = processes(params, device)
    if count > 1:
        job = worker.Job(
            params=params,
            sequences=data.folder,
            filter_seen=filter_seen,
            checkpoints=checkpoint.folder,
            fingerprint=checkpoint.fingerprint,
        )
        _together(job, count, console)
        console = Console(quiet=True)  # all that is left here is to read the last checkpoint
    done = fit(
        data.train(),
        data.vocabulary.size,
        params,
        device,
        validate=validation(data, filter_seen),
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        console=console,
    )
    return blended(done, data, filter_seen) if params.model == Blend.kind else done


def processes(params: TrainParams, device: torch.device) -> int:
    """The number of processes: `auto` is one per GPU; a baseline needs one."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    if params.of_network().model not in NEURAL:
        return 1
    if params.processes == "auto":
        return max(1, gpus)
    wanted = params.processes
    if wanted > 1 and device.type != "cpu" and wanted > gpus:
        raise UserError(
            f"train.processes is {wanted}, but there are {gpus} CUDA devices",
            "set it to auto in params.yaml",
        )
    return wanted


def _together(job: worker.Job, count: int, console: Console) -> None:
    """Train under torchrun; the checkpoint then holds the result.

    Raises UserError when a rank does.
    """
    console.print(f"train: {count} processes")
    folder = job.checkpoints / "ranks"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed training
    folder.mkdir(parents=True)
    try:
        (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
        code = _torchrun(folder, count, console)
        error = folder / "error"
        if error.exists():
            raise UserError(error.read_text(encoding="utf-8"))
        errors = (folder / "stderr").read_text(encoding="utf-8", errors="replace")
        if code and "SIGKILL" in errors:
            raise UserError(
                "a training process was killed, perhaps for lack of memory",
                "lower train.processes or train.batch_size in params.yaml",
            )
        if code:
            for line in errors.splitlines():
                echo(line, err=True)
            raise RuntimeError(f"torchrun ended with exit code {code}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _torchrun(folder: Path, count: int, console: Console) -> int:
    """Run torchrun; its exit code. The processes meet through files: no port is open to others."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--max-restarts=0"]
    command += [f"--nproc-per-node={count}", "--rdzv-backend=c10d", "--local-addr=localhost"]
    command += ["--rdzv-conf=store_type=file", f"--rdzv-endpoint={folder / 'agents'}"]
    command += [f"--log-dir={folder / 'logs'}"]  # the default is never deleted
    command += ["-m", worker.__name__, str(folder)]
    threads = str(max(1, torch.get_num_threads() // count))
    environment = {"OMP_NUM_THREADS": threads, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            supervise.command(command),
            env={**os.environ, **environment, **_interfaces()},
            stdin=subprocess.PIPE,  # the supervisor stops torchrun when this pipe is closed
            close_fds=False,  # the supervisor holds the stage's lock until the ranks have ended
            stdout=sys.__stderr__ if console.stderr else None,
            stderr=errors,
        )
        try:
            return process.wait()
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _interfaces() -> dict[str, str]:
    """Have the ranks communicate over the loopback interface."""
    name = _LOOPBACK.get(sys.platform)
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} if name else {}
