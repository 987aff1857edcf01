"""RecTools' BERT4Rec, as its documentation fits it and recommends with it."""

# mypy: disable-error-code="import-not-found"

import time
from typing import Any

import _measure as measure
import pandas as pd
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel


def dataset(rows: pd.DataFrame) -> Dataset:
    """Interactions in RecTools' format; the position in the history is the time."""
    columns = {"timestamp": Columns.Datetime}
    kept = rows[["user_id", "item_id", "timestamp"]]
    return Dataset.construct(kept.rename(columns=columns).assign(weight=1))


def main() -> None:
    given = measure.settings()
    laps, readied = measure.Laps(), []

    def setup(trainer: Trainer, module: LightningModule, stage: str) -> None:
        readied.append(time.perf_counter())

    def lap(trainer: Trainer, module: LightningModule, out: Any, batch: Any, index: int) -> None:
        laps.add(len(batch["x"]))

    def trainer() -> Trainer:
        return Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1,
            max_steps=given.warm_up + given.batches,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[LambdaCallback(setup=setup, on_train_batch_end=lap)],
        )

    model = BERT4RecModel(
        n_blocks=measure.LAYERS,
        n_heads=measure.HEADS,
        n_factors=measure.WIDTH,
        dropout_rate=measure.DROPOUT,
        mask_prob=given.mask,
        session_max_len=given.max_length,
        loss="softmax",
        batch_size=measure.BATCH,
        dataloader_num_workers=given.workers,
        recommend_batch_size=measure.EVALUATION_BATCH,
        recommend_torch_device="cpu",
        get_trainer_func=trainer,
    )
    began = time.perf_counter()
    rows = measure.read(given.log)
    model.fit(dataset(rows[rows["left"] >= 2]))

    wanted = rows["user_id"].unique()[: given.users]
    histories = dataset(rows[(rows["left"] >= 1) & rows["user_id"].isin(wanted)])

    def recommend(users: int) -> None:
        top = model.recommend(
            wanted[:users],
            histories,
            k=10,
            filter_viewed=True,
            on_unsupported_targets="ignore",  # histories of nothing that training saw
        )
        assert top[Columns.User].nunique() > 0.9 * users

    measure.report(
        "RecTools",
        "rectools",
        train=laps.rate(given.warm_up),
        evaluate=measure.users_per_second(recommend, given.users),
        data=readied[0] - began,
    )


if __name__ == "__main__":
    main()
