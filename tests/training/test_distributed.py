"""A training shared by two processes comes to what one comes to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import ready_project
from lives import SECONDS, lives, started_as, wait_for
from recctl import lock
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.render.console import Console
from recctl.sequences.store import SequenceData
from recctl.training.checkpoint import Checkpoint
from recctl.training.distributed import World
from recctl.training.launch import fit_project, processes
from recctl.training.loop import Fit, Trainer
from recctl.training.params import TrainParams

BATCH = 31
"""Of 900 sequences one is left for the last batch: fewer rows than processes."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    return ready_project.make(folder / "project")


def train(project: Path, checkpoints: Path, count: int, **settings: Any) -> Fit:
    shape = {"max_length": 20, "hidden_size": 16, "dropout": 0.0}
    params = TrainParams.model_validate(
        {"device": "cpu", "processes": count, "batch_size": BATCH, "decay_epochs": 3,
         "max_epochs": 3, "average_epochs": 1.0, "bert4rec": shape, "sasrec": shape, **settings}
    ).ranked(filter_seen=True)  # fmt: skip
    data = SequenceData.load(project / "artifacts" / "sequences")
    checkpoint = Checkpoint(checkpoints, "f" * 64)
    return fit_project(data, params, True, checkpoint, console=Console(quiet=True))


def differ(one: Fit, other: Fit, project: Path) -> float:
    """The largest difference of two scores; weights without a gradient may drift apart freely."""
    data = SequenceData.load(project / "artifacts" / "sequences")
    histories = data.cases("validation").histories
    return float((one.model.score(histories) - other.model.score(histories)).abs().max())


@pytest.mark.slow
def test_what_two_began_one_ends(project: Path, tmp_path: Path) -> None:
    """Two processes train two epochs, one the third: it is as if one had trained alone.

    Without dropout a causal network draws nothing but negatives, which all ranks draw alike.
    """
    settings = {"model": "sasrec", "loss": "sampled", "negatives": 8}
    alone = train(project, tmp_path / "1", 1, **settings)
    begun = train(project, tmp_path / "2", 2, **settings, max_epochs=2)
    ended = train(project, tmp_path / "2", 1, **settings)
    assert ended.curve[:2] == begun.curve
    assert differ(alone, ended, project) < 2e-4
    for mine, yours in zip(alone.curve, ended.curve, strict=True):
        assert yours.loss == pytest.approx(mine.loss, rel=1e-4)
        assert yours.ndcg == pytest.approx(mine.ndcg, abs=2e-3)


@pytest.mark.slow
def test_bert4rec_comes_to_the_same_figures_but_for_noise(project: Path, tmp_path: Path) -> None:
    alone, together = (train(project, tmp_path / str(count), count) for count in (1, 2))
    assert together.curve[-1].loss == pytest.approx(alone.curve[-1].loss, rel=0.02)
    assert together.best_ndcg == pytest.approx(alone.best_ndcg, abs=0.02)


def test_ranks_draw_different_masks_and_the_same_negatives(project: Path) -> None:
    data = SequenceData.load(project / "artifacts" / "sequences")
    masks, negatives = set(), set()
    for rank in range(3):
        trainer = Trainer(data.train(), data.vocabulary.size, TrainParams(), torch.device("cpu"))
        trainer.world = World(rank, 3)
        trainer._seed_step()
        masks.add(trainer._generator.initial_seed())
        negatives.add(trainer._on_host.initial_seed())
    assert len(masks) == 3
    assert len(negatives) == 1


@pytest.mark.slow
def test_what_a_user_can_fix_is_said_once(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss is not finite.*lower train\.learning_rate"):
        train(project, tmp_path, 2, learning_rate=1e6, item_vectors="random")


@pytest.mark.slow
def test_no_rank_outlives_a_killed_stage(tmp_path: Path) -> None:
    """Nor the stage's lock while one of them runs; none listens where others could reach it."""
    root = ready_project.make(tmp_path / "project")
    text = ready_project.PARAMS.replace(
        "max_epochs: 4", "max_epochs: 1000000\n  processes: 2\n  item_vectors: random"
    )
    text = text.replace("patience: 4", "patience: 1000000")
    (root / "params.yaml").write_text(text)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    recctl = Path(sys.executable).with_name("recctl")
    stage = subprocess.Popen([recctl, "stage", "train"], cwd=root, env=environment)
    try:
        deadline = time.monotonic() + SECONDS
        started, ranks = [], []
        while len(ranks) < 2 or not all(one.net_connections() for one in ranks):
            assert stage.poll() is None
            assert time.monotonic() < deadline
            started = psutil.Process(stage.pid).children(recursive=True)
            ranks = started_as("recctl.training.worker", stage.pid)
            time.sleep(0.1)
        listening = [
            found.laddr.ip
            for one in started
            for found in one.net_connections()
            if found.status == psutil.CONN_LISTEN
        ]
        assert set(listening) <= {"127.0.0.1", "::1"}, listening
    finally:
        stage.send_signal(signal.SIGKILL)
        stage.wait()
    wait_for("the lock", lambda: lock.holder(Layout(root)) is None)
    # a process that ends closes its files, the lock among them, a moment before it is gone
    wait_for("the ranks' end", lambda: not any(lives(one.pid) for one in ranks), seconds=2.0)
    wait_for("their end", lambda: not any(lives(one.pid) for one in started))


def test_one_process_unless_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert processes(TrainParams(), cuda) == 1
    assert processes(TrainParams(processes="auto"), cpu) == 1
    assert processes(TrainParams(processes="auto"), cuda) == 4
    assert processes(TrainParams(model="markov", processes="auto"), cuda) == 1
    assert processes(TrainParams(processes=2), cuda) == 2
    assert processes(TrainParams(processes=8), cpu) == 8
    with pytest.raises(UserError, match="is 8, but there are 4 CUDA devices"):
        processes(TrainParams(processes=8), cuda)
