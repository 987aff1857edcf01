"""A project whose trials take a second, and searches that run them in this process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_project as tiny
from optuna.study import Study

from recctl.layout import Layout
from recctl.training.params import SasRecParams, TrainParams
from recctl.tuning import search as module
from recctl.tuning import worker
from recctl.tuning.report import Report
from recctl.tuning.space import DEFAULTS
from recctl.tuning.worker import Job

TRAIN: dict[str, Any] = {
    "device": "cpu", "model": "sasrec", "max_epochs": 5, "batch_size": 64, "learning_rate": 0.004,
    "sasrec": {"max_length": 12, "hidden_size": 8, "layers": 1},
}  # fmt: skip
SPACE: dict[str, Any] = {
    "sasrec": {"hidden_size": [8, 16], "batch_size": [64, 128], "layers": None, "heads": [1, 2]}
}

_KNOWN = (*TrainParams.model_fields, *SasRecParams.model_fields)
FIXED = [name for name in DEFAULTS if name in _KNOWN and name != "learning_rate"]
"""The settings that a search for a learning rate alone leaves as they are."""


def make(root: Path, **train: Any) -> Layout:
    """A project with sequences; `train` replaces settings of its section."""
    layout = tiny.make(root)
    tiny.set_params(root, train={**TRAIN, **train}, tune={"space": SPACE})
    return layout


def here(monkeypatch: pytest.MonkeyPatch, plots: bool = False) -> None:
    """Have searches run their trials in this process, one after another, and draw no plots."""

    def work(
        layout: Layout, study: Study, jobs: Sequence[Job], fds: Sequence[int], say: module.Say
    ) -> None:
        worker.work(jobs[0])

    monkeypatch.setattr(module, "_work", work)
    if not plots:
        monkeypatch.setattr(Report, "_plots", lambda found: ())


def search(layout: Layout, trials: int = 2, **more: Any) -> Report:
    """A search of so many trials."""
    settings: dict[str, Any] = {"minutes": None, "trials": trials, **more}
    return module.search(layout, None, lambda line: None, **settings)
