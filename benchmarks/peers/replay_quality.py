"""RePlay's SASRec and BERT4Rec, trained as its two examples train them."""

# mypy: disable-error-code="import-not-found,misc,no-any-return"

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

import _quality as quality
import numpy as np
import pandas as pd
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from numpy.typing import NDArray
from replay.data import FeatureHint, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorSchema
from replay.data.nn.utils import groupby_sequences
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import (
    Bert4RecPredictionDataset,
    Bert4RecTrainingDataset,
    Bert4RecValidationDataset,
)
from replay.models.nn.sequential.callbacks import ValidationMetricsCallback
from replay.models.nn.sequential.postprocessors import RemoveSeenItems
from replay.nn.lightning import LightningModule as Module
from replay.nn.lightning.callback import ComputeMetricsCallback
from replay.nn.sequential import SasRec
from replay.nn.transform.template import make_default_sasrec_transforms
from replay_bert4rec import QUIET, dataset, tokenizer
from torch.utils.data import DataLoader

METRICS: dict[str, Any] = {"metrics": ["map", "ndcg", "recall"], "ks": [1, 5, 10, 20]}
SASREC_LENGTH, SASREC_BATCH, SASREC_WIDTH = 50, 32, 64
BERT4REC_LENGTH, BERT4REC_BATCH, BERT4REC_WIDTH = 100, 512, 300


class Limit(quality.Limit, Callback):
    """The time limit."""


@dataclass(frozen=True)
class Parts:
    """A model with what it is trained, validated and asked with."""

    module: LightningModule
    fit: dict[str, Any]
    """What `Trainer.fit` is given beside the module."""
    predict: dict[str, Any]
    metrics: Callback
    items: NDArray[np.int64]
    """The ids in the order of the model's own numbers."""
    users: NDArray[np.int64]


def sasrec(given: Namespace, rows: pd.DataFrame) -> Parts:
    """Example 09; its encoder is not needed, as items are numbered from 0 here."""
    count = int(rows["item_id"].max()) + 1
    item = TensorFeatureInfo(
        name="item_id",
        is_seq=True,
        padding_value=count,
        cardinality=count,
        embedding_dim=SASREC_WIDTH,
        feature_type=FeatureType.CATEGORICAL,
        feature_hint=FeatureHint.ITEM_ID,
    )
    schema = TensorSchema([item])
    train, targets = lists(rows[~rows["validation"]]), lists(rows[rows["validation"]])
    targets = targets.rename(columns={"item_id": "ground_truth"})[["user_id", "ground_truth"]]
    parts = {
        "train": train,
        "validate": train.merge(targets, on="user_id"),
        "predict": lists(rows),
    }
    for name, part in parts.items():
        part.to_parquet(given.folder / f"{name}.parquet")
    padded = {"shape": SASREC_LENGTH, "padding": count}
    data = ParquetModule(
        batch_size=SASREC_BATCH,
        metadata={
            "train": {"item_id": padded | {"shape": SASREC_LENGTH + 1}},
            "validate": {"item_id": padded, "ground_truth": {"shape": 1, "padding": -1}},
            "predict": {"user_id": {}, "item_id": padded},
        },
        transforms=make_default_sasrec_transforms(schema),
        **{f"{name}_path": str(given.folder / f"{name}.parquet") for name in parts},
    )
    network = SasRec.from_params(
        schema=schema,
        embedding_dim=SASREC_WIDTH,
        max_sequence_length=SASREC_LENGTH,
        num_heads=2,
        num_blocks=2,
        dropout=0.3,
    )
    return Parts(
        module=Module(network),
        fit={"datamodule": data},
        predict={"datamodule": data},
        metrics=ComputeMetricsCallback(**METRICS, item_count=count, verbose=False),
        items=np.arange(count),
        users=np.arange(rows["user_id"].max() + 1),
    )


def lists(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each user, with lists of items and places."""
    kept = rows[["user_id", "item_id", "timestamp"]]
    return groupby_sequences(events=kept, groupby_col="user_id", sort_col="timestamp")


def bert4rec(given: Namespace, rows: pd.DataFrame) -> Parts:
    """Example 10."""
    tokens, is_target = tokenizer(BERT4REC_WIDTH), rows["validation"]
    train = tokens.fit_transform(dataset(rows[~is_target]))
    has_target = rows["user_id"].isin(rows.loc[is_target, "user_id"])
    asked = tokens.transform(dataset(rows[~is_target & has_target]))
    targets = tokens.transform(
        dataset(rows[is_target]), [tokens.tensor_schema.item_id_feature_name]
    )
    length, size = BERT4REC_LENGTH, BERT4REC_BATCH
    training = Bert4RecTrainingDataset(train, length)
    validation = Bert4RecValidationDataset(asked, targets, train, length)
    test = Bert4RecPredictionDataset(tokens.transform(dataset(rows)), length)
    items = tokens.item_id_encoder.mapping["item_id"]
    module = Bert4Rec(
        tokens.tensor_schema,
        block_count=2,
        head_count=4,
        max_seq_len=length,
        hidden_size=BERT4REC_WIDTH,
        dropout_rate=0.5,
    )
    metrics = ValidationMetricsCallback(
        **METRICS, item_count=len(items), postprocessors=[RemoveSeenItems(asked)]
    )
    return Parts(
        module=module,
        fit={
            "train_dataloaders": DataLoader(training, size, shuffle=True),
            "val_dataloaders": DataLoader(validation, size),
        },
        predict={"dataloaders": DataLoader(test, size)},
        metrics=metrics,
        items=by_own_number(items),
        users=by_own_number(tokens.query_id_encoder.mapping["user_id"]),
    )


def by_own_number(mapping: dict[int, int]) -> NDArray[np.int64]:
    """The ids in the order of the numbers that an encoder gave them."""
    return np.array(sorted(mapping, key=mapping.__getitem__))


def main() -> None:
    given = quality.settings()
    rows = quality.read(given.project)
    parts = {"sasrec": sasrec, "bert4rec": bert4rec}[given.model](given, rows)
    best = ModelCheckpoint(given.folder, "{epoch}", monitor="recall@10", mode="max")
    limit = Limit(given.minutes)
    trainer = Trainer(
        **QUIET | {"enable_checkpointing": True},
        max_epochs=-1,
        num_sanity_val_steps=0,
        callbacks=[parts.metrics, best, limit],
    )
    trainer.fit(parts.module, **parts.fit)

    written = quality.scores(given.folder, len(parts.users), rows["item_id"].max() + 1)

    def write(trainer: Trainer, module: Any, outputs: Any, batch: Any, *index: int) -> None:
        logits = outputs["logits"] if isinstance(outputs, dict) else outputs
        users = batch["user_id"] if "user_id" in batch else batch["query_id"]
        scores = np.full((len(logits), written.shape[1]), -np.inf, np.float32)
        scores[:, parts.items] = logits[:, : len(parts.items)]
        written[parts.users[users.flatten()]] = scores

    asking = Trainer(**QUIET, callbacks=[LambdaCallback(on_predict_batch_end=write)])
    asking.predict(
        parts.module,
        **parts.predict,
        return_predictions=False,
        ckpt_path=best.best_model_path,
        weights_only=False,
    )
    quality.report(given, "replay-rec", **quality.lightning(limit, best))


if __name__ == "__main__":
    main()
