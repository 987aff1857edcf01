"""train: sequences -> a model folder that recommends on its own, tracked in MLflow."""

import dataclasses
import shutil
from typing import Any

from recctl import __version__
from recctl.devices import pick
from recctl.evaluation.params import EvaluateParams
from recctl.files import replacing_folder, write_json
from recctl.layout import Layout
from recctl.models.base import save_model
from recctl.models.blend import Blend
from recctl.render.console import Console, Text
from recctl.sequences.store import SequenceData
from recctl.tracking.training import training_run
from recctl.training import curve
from recctl.training.checkpoint import Checkpoint
from recctl.training.fit import check_model, fingerprint
from recctl.training.launch import fit_project
from recctl.training.loop import Fit
from recctl.training.params import TrainParams


def run(layout: Layout) -> None:
    """Train the model that params.yaml names and write it with its curve.

    Raises UserError for params that do not fit, an unreachable tracking server (before training),
    a damaged checkpoint, or a loss that is not finite.
    """
    params = TrainParams.load(layout.params)
    filter_seen = EvaluateParams.load(layout.params).filter_seen
    params = params.ranked(filter_seen)
    check_model(params.model)
    device = pick(params.device)
    data = SequenceData.load(layout.sequences)
    n_items = data.vocabulary.size
    key = fingerprint(params, data.fingerprint, filter_seen)
    of_network = fingerprint(params.of_network(), data.fingerprint, filter_seen)
    checkpoint = Checkpoint(layout.state / "checkpoints", of_network)
    console = Console()
    tags = {"split_fingerprint": data.fingerprint, "training_fingerprint": key}
    with training_run(
        layout, name=params.model, fingerprint=key, params={"train": params.model_dump()}, tags=tags
    ) as tracked:
        console.print(
            f"train: {params.model} on {device.type}, {len(data.train()):,} sequences, "
            f"{n_items:,} items"
        )
        done = fit_project(
            data,
            params,
            filter_seen,
            checkpoint,
            on_epoch=lambda row: tracked.log_epoch(dataclasses.asdict(row)),
            console=console,
        )
        tracked.log_curve(dataclasses.asdict(row) for row in done.curve)
        about = {"training_fingerprint": key, "split_fingerprint": data.fingerprint}
        _write(layout, data, params, done, about)
        tracked.log_metrics(_metrics(done))
        tracked.log_files([layout.training / "curve.png", layout.model])
    _say(console, done, params)


def _write(
    layout: Layout, data: SequenceData, params: TrainParams, done: Fit, about: dict[str, Any]
) -> None:
    """The model and how it came about; both folders are new as a whole, or as they were."""
    kept = {**about, "recctl": __version__, "params": params.model_dump(), **_outcome(done)}
    with replacing_folder(layout.model) as model, replacing_folder(layout.training) as training:
        save_model(done.model, model, kept)
        shutil.copyfile(data.folder / "vocabulary.json", model / "vocabulary.json")
        curve.write_csv(done.curve, training / "curve.csv")
        curve.write_png(done.curve, done.best_epoch, training / "curve.png")
        write_json(training / "metrics.json", _metrics(done))


def _outcome(done: Fit) -> dict[str, Any]:
    return {
        "validation_ndcg@10": done.best_ndcg,
        "best_epoch": done.best_epoch,
        "epochs": len(done.curve),
        "best_epoch_is_cap": done.capped,
    }


def _metrics(done: Fit) -> dict[str, float]:
    figures = {name: float(value) for name, value in _outcome(done).items()}
    speed = {"seconds": done.seconds, "sequences_per_second": done.sequences_per_second}
    return {**figures, **{name: round(value, 1) for name, value in speed.items()}}


def _say(console: Console, done: Fit, params: TrainParams) -> None:
    at = f" at epoch {done.best_epoch} of {len(done.curve)}" if done.curve else ""
    if isinstance(done.model, Blend):
        weights = ", ".join(f"{name} {one:.3f}" for name, one in done.model.weights.items())
        console.print(f"train: weights of the blend, fitted on validation: {weights}")
    console.print(f"train: best validation NDCG@10 {done.best_ndcg:.4f}{at}")
    ends = curve.end([(row.epoch, row.ndcg) for row in done.curve if row.ndcg is not None])
    if len(done.curve) == params.max_epochs and curve.still_rises(ends, done.best_epoch):
        console.print(
            Text.assemble(
                ("train: "),
                ("warning", "bold"),
                ": validation was still getting better at the last epoch allowed; raise "
                f"train.max_epochs (now {params.max_epochs}): the model has not converged",
            ),
            soft_wrap=True,
        )
