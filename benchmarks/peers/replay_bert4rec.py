"""RePlay's BERT4Rec, as its documentation trains and predicts with it."""

# mypy: disable-error-code="import-not-found"

import time
from typing import Any

import _measure as measure
import pandas as pd
from lightning import Trainer
from lightning.pytorch.callbacks import LambdaCallback
from replay.data import (
    Dataset,
    FeatureHint,
    FeatureInfo,
    FeatureSchema,
    FeatureSource,
    FeatureType,
)
from replay.data.nn import SequenceTokenizer, TensorFeatureInfo, TensorFeatureSource, TensorSchema
from replay.models.nn.sequential import Bert4Rec
from replay.models.nn.sequential.bert4rec import Bert4RecPredictionDataset, Bert4RecTrainingDataset
from replay.models.nn.sequential.callbacks import PandasPredictionCallback
from replay.models.nn.sequential.postprocessors import RemoveSeenItems
from torch.utils.data import DataLoader

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
COLUMNS = ["user_id", "item_id", "timestamp"]


def dataset(rows: pd.DataFrame) -> Dataset:
    """Interactions as RePlay wants them."""
    schema = FeatureSchema(
        [
            FeatureInfo("user_id", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
            FeatureInfo("item_id", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
            FeatureInfo("timestamp", FeatureType.NUMERICAL, FeatureHint.TIMESTAMP),
        ]
    )
    return Dataset(schema, rows[COLUMNS].reset_index(drop=True))


def tokenizer(width: int) -> SequenceTokenizer:
    """The one feature is the item; what training never saw is dropped."""
    feature = TensorFeatureInfo(
        name="item_id_seq",
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        feature_sources=[TensorFeatureSource(FeatureSource.INTERACTIONS, "item_id")],
        feature_hint=FeatureHint.ITEM_ID,
        embedding_dim=width,
    )
    return SequenceTokenizer(TensorSchema(feature), handle_unknown_rule="drop")


def main() -> None:
    given = measure.settings()
    began = time.perf_counter()
    rows = measure.read(given.log)
    tokens = tokenizer(measure.WIDTH)
    train = tokens.fit_transform(dataset(rows[rows["left"] >= 2]))
    training = Bert4RecTrainingDataset(train, given.max_length, mask_prob=given.mask)
    ready = time.perf_counter() - began

    model = Bert4Rec(
        tokens.tensor_schema,
        block_count=measure.LAYERS,
        head_count=measure.HEADS,
        hidden_size=measure.WIDTH,
        max_seq_len=given.max_length,
        dropout_rate=measure.DROPOUT,
        enable_embedding_tying=True,
        loss_type="CE",
    )
    laps = measure.Laps()

    def lap(trainer: Trainer, module: Bert4Rec, outputs: Any, batch: Any, index: int) -> None:
        laps.add(len(batch["query_id"]))

    trainer = Trainer(
        **QUIET,
        max_epochs=-1,
        max_steps=given.warm_up + given.batches,
        callbacks=[LambdaCallback(on_train_batch_end=lap)],
    )
    trainer.fit(model, DataLoader(training, measure.BATCH, shuffle=True, num_workers=given.workers))

    wanted = rows["user_id"].unique()[: given.users]
    seen = rows[(rows["left"] >= 1) & rows["user_id"].isin(wanted)]
    histories = tokens.transform(dataset(seen))

    def predict(users: int) -> None:
        some = histories.filter_by_query_id(histories.get_all_query_ids()[:users])
        top = PandasPredictionCallback(
            top_k=10,
            query_column="user_id",
            item_column="item_id",
            postprocessors=[RemoveSeenItems(some)],
        )
        cases = Bert4RecPredictionDataset(some, given.max_length)
        loader = DataLoader(cases, measure.EVALUATION_BATCH, num_workers=given.workers)
        Trainer(**QUIET, callbacks=[top]).predict(model, loader, return_predictions=False)
        assert top.get_result()["user_id"].nunique() == len(some)

    measure.report(
        "RePlay",
        "replay-rec",
        train=laps.rate(given.warm_up),
        evaluate=measure.users_per_second(predict, given.users),
        data=ready,
    )


if __name__ == "__main__":
    main()
