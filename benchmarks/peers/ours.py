"""recctl's BERT4Rec: its stages ingest and sequence-split, its training steps, its ranking."""

import contextlib
import io
import tempfile
import time
from pathlib import Path

import _measure as measure
import ibis.backends.duckdb  # noqa: F401  (the stages import it late; the peers' libraries are here too)
import numpy as np
import torch

from recctl.evaluation.ranking import rank_cases
from recctl.layout import Layout
from recctl.models.bert4rec import Bert4Rec
from recctl.sequences.store import Cases, SequenceData
from recctl.stages import ingest, sequence_split
from recctl.training.loop import Trainer, on_device
from recctl.training.params import Bert4RecParams, TrainParams

# Three, so that no user of the file is left out: the peers leave none out.
PARAMS = """
ingest: {{name: bench, files: [{name}], format: sequences}}
sequence-split: {{protocol: leave-one-out, minimum_user_interactions: 3}}
"""
MOST_BATCHES = 160
"""Timed at most; an epoch of MovieLens 1M has 48."""


def sequences(folder: Path, log: Path) -> SequenceData:
    """What the two stages make of the file."""
    (folder / "data").mkdir()
    (folder / "data" / log.name).symlink_to(log.resolve())
    (folder / "dvc.yaml").touch()
    (folder / "params.yaml").write_text(PARAMS.format(name=log.name))
    layout = Layout(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        ingest.run(layout)
        sequence_split.run(layout)
    return SequenceData.load(layout.sequences)


def by_number(data: SequenceData) -> Cases:
    """The test cases in the file's order of users, whose ids are rising numbers."""
    cases = data.cases("test")
    rows = np.argsort([int(data.user_ids[user]) for user in cases.users])
    return Cases(cases.users[rows], cases.histories.select(rows), cases.targets[rows])


def first(cases: Cases, count: int) -> Cases:
    histories = cases.histories.select(slice(count))
    return Cases(cases.users[:count], histories, cases.targets[:count])


def train(trainer: Trainer, warm_up: int) -> float:
    """Sequences per second of an epoch, drawing its plan included."""
    plan = trainer.plan(1)
    rows = on_device(plan, trainer.device)
    for _ in range(warm_up):
        trainer.train_batch(plan, rows)
    trainer.position.batch = 0
    laps = measure.Laps()
    laps.add(0)
    plan = trainer.plan(2)
    rows = on_device(plan, trainer.device)
    for size in np.diff(plan.bounds)[:MOST_BATCHES]:
        trainer.train_batch(plan, rows)
        laps.add(int(size))
    return laps.rate(warm_up=1)


def main() -> None:
    given = measure.settings(attention_dropout=measure.DROPOUT)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        data = sequences(Path(folder), given.log)
        histories = data.train()
        ready = time.perf_counter() - began
        network = Bert4RecParams(
            max_length=given.max_length,
            hidden_size=measure.WIDTH,
            layers=measure.LAYERS,
            heads=measure.HEADS,
            dropout=measure.DROPOUT,
            attention_dropout=given.attention_dropout,
            rotary=False,
            mask_probability=given.mask,
            last_item_share=0.0,
        )
        params = TrainParams(
            device="cpu", precision="float32", batch_size=measure.BATCH, bert4rec=network
        )
        trainer = Trainer(histories, data.vocabulary.size, params, torch.device("cpu"))
        trained = train(trainer, given.warm_up)
        model, cases = Bert4Rec(trainer.encoder), by_number(data)
        ranked = measure.users_per_second(
            lambda users: rank_cases(model, first(cases, users)), given.users
        )
        measure.report("recctl", "recctl", train=trained, evaluate=ranked, data=ready)


if __name__ == "__main__":
    main()
