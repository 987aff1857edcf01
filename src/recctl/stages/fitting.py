"""Train a model on a project's sequences: in this process, or in several under torchrun."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from rich.console import Console

from recctl import supervise
from recctl.devices import pick
from recctl.errors import UserError
from recctl.evaluation.metrics import means
from recctl.evaluation.ranking import rank_cases
from recctl.models import NEURAL
from recctl.models.base import Recommender
from recctl.sequences.store import Cases, SequenceData
from recctl.training.checkpoint import Checkpoint
from recctl.training.fit import fit
from recctl.training.loop import Fit, Validate
from recctl.training.params import TrainParams
from recctl.training.progress import Epoch
from recctl.training.world import World

_VALIDATION_CASES = 10_000
"""Users whose targets are ranked at each validation; a larger set would cost more than it tells."""
_METRIC = "ndcg@10"
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


class Job(BaseModel):
    """What each of several processes must know."""

    params: TrainParams
    sequences: Path
    filter_seen: bool
    checkpoints: Path
    fingerprint: str


def fit_project(
    data: SequenceData,
    params: TrainParams,
    filter_seen: bool,
    checkpoint: Checkpoint,
    *,
    on_epoch: Callable[[Epoch], None] = lambda row: None,
    console: Console | None = None,
) -> Fit:
    """Train what the params name on the training sequences of a split.

    In several processes `on_epoch` is not told; the curve is in what comes back. Raises UserError
    as `fit` does, and for processes that the machine cannot have.
    """
    device = pick(params.device)
    console = console or Console()
    count = processes(params, device)
    if count > 1:
        job = Job(
            params=params,
            sequences=data.folder,
            filter_seen=filter_seen,
            checkpoints=checkpoint.folder,
            fingerprint=checkpoint.fingerprint,
        )
        _together(job, count, console)
        console = Console(quiet=True)  # what is left to do here is to read the last checkpoint
    return fit(
        data.train(),
        data.vocabulary.size,
        params,
        device,
        validate=validation(data, filter_seen),
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        console=console,
    )


def processes(params: TrainParams, device: torch.device) -> int:
    """How many processes train a model: one per GPU by default; a baseline is fitted by one."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    if params.model not in NEURAL:
        return 1
    if params.processes == "auto":
        return max(1, gpus)
    wanted = params.processes
    if wanted > 1 and device.type != "cpu" and wanted > gpus:
        raise UserError(
            f"train.processes is {wanted}, and there are {gpus} CUDA devices",
            "set it to auto in params.yaml",
        )
    return wanted


def validation(data: SequenceData, filter_seen: bool, world: World | None = None) -> Validate:
    """NDCG@10 on (at most some thousand of) the validation cases, as evaluation would rank them.

    In a `world` of several processes each ranks its share; the figure is the same.
    """
    world = world or World()
    cases = data.cases("validation")
    if not len(cases):
        raise UserError(
            "the split has no validation target", "look at artifacts/sequences/report.json"
        )
    rows = np.arange(len(cases))
    if len(cases) > _VALIDATION_CASES:
        chosen = np.random.default_rng(0).choice(len(cases), _VALIDATION_CASES, replace=False)
        rows = np.sort(chosen)
    own = rows[world.share(0, len(rows))]
    cases = Cases(cases.users[own], cases.histories.select(own), cases.targets[own])

    def validate(model: Recommender) -> float:
        ranks = rank_cases(model, cases, filter_seen=filter_seen).full
        every = np.concatenate(world.gather(ranks))
        return means([_METRIC], every, model.n_items)[_METRIC]

    return validate


def _together(job: Job, count: int, console: Console) -> None:
    """Train to the end under torchrun; the checkpoint then holds what came of it.

    Raises UserError when a rank does.
    """
    console.print(f"train: {count} processes", highlight=False)
    with tempfile.TemporaryDirectory(prefix="recctl-ranks-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
        code = _torchrun(folder, count, console)
        error = folder / "error"
        if error.exists():
            raise UserError(error.read_text(encoding="utf-8"))
        if code:
            print((folder / "stderr").read_text(errors="replace"), file=sys.stderr)
            raise RuntimeError(f"torchrun ended with exit code {code}")


def _torchrun(folder: Path, count: int, console: Console) -> int:
    """Its exit code. The processes meet at files in the folder: no port is open to others."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--max-restarts=0"]
    command += [f"--nproc-per-node={count}", "--rdzv-backend=c10d", "--local-addr=localhost"]
    command += ["--rdzv-conf=store_type=file", f"--rdzv-endpoint={folder / 'agents'}"]
    command += ["-m", "recctl.stages.rank", str(folder)]
    threads = str(max(1, torch.get_num_threads() // count))
    environment = {"OMP_NUM_THREADS": threads, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    to_error = console.stderr or console.file is sys.stderr
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            supervise.command(command),
            env={**os.environ, **environment, **_interfaces()},
            stdin=subprocess.PIPE,  # its end tells the supervisor that we are gone
            stdout=sys.__stderr__ if to_error else None,
            stderr=errors,
        )
        try:
            return process.wait()
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _interfaces() -> dict[str, str]:
    """Ranks talk over the loopback interface."""
    name = _LOOPBACK.get(sys.platform)
    return {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name} if name else {}
