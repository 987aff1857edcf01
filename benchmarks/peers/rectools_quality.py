"""RecTools' SASRec and BERT4Rec, trained as its guide to advanced training does."""

# mypy: disable-error-code="import-not-found,misc"

from typing import Any

import _quality as quality
import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from rectools.models import BERT4RecModel, SASRecModel
from rectools.models.nn.transformers.utils import leave_one_out_mask
from rectools_bert4rec import dataset

VALIDATION_USERS = 2048
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sasrec": (SASRecModel, {"session_max_len": 50}),
    "bert4rec": (BERT4RecModel, {}),
}
"""The guide's settings are the defaults, but for SASRec's length."""


class Limit(quality.Limit, Callback):
    """The time limit."""


class Ndcg(Callback):
    """NDCG@10 of the validation targets among all items, seen ones too, as in the guide."""

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.gains: list[torch.Tensor] = []

    def on_validation_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, *index: int
    ) -> None:
        targets = batch["y"]
        scores = outputs["logits"].view(len(targets), -1)
        ranks = (scores >= scores.gather(1, targets)).sum(1)
        self.gains.append(torch.where(ranks <= 10, 1 / torch.log2(ranks + 1), 0))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        module.log("NDCG@10", torch.cat(self.gains).mean())


def main() -> None:
    given = quality.settings()
    rows = quality.read(given.project)
    asked = rows.loc[rows["validation"], "user_id"].unique()[:VALIDATION_USERS]
    kept = rows[~rows["validation"] | rows["user_id"].isin(asked)]

    def trainer() -> Trainer:
        best = ModelCheckpoint(given.folder, "{epoch}", monitor="NDCG@10", mode="max")
        stopping = EarlyStopping("NDCG@10", patience=5, mode="max")
        return Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=100,
            num_sanity_val_steps=0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Ndcg(), best, stopping, Limit(given.minutes)],
        )

    kind, settings = MODELS[given.model]
    model = kind(
        **settings,
        get_val_mask_func=leave_one_out_mask,
        get_val_mask_func_kwargs={"val_users": asked.tolist()},
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
    )
    model.fit(dataset(kept))
    best = model.fit_trainer.checkpoint_callback
    model.load_weights_from_checkpoint(best.best_model_path)
    (limit,) = (one for one in model.fit_trainer.callbacks if isinstance(one, Limit))

    users, prepared = rows["user_id"].unique(), model.data_preparator
    histories = prepared.transform_dataset_u2i(dataset(rows), users)
    loader = prepared.get_dataloader_recommend(histories, quality.BLOCK)
    vectors, items = model.lightning_model._get_user_item_embeddings(loader, "cpu")
    ids = histories.user_id_map.get_external_sorted_by_internal()
    written = quality.scores(given.folder, rows["user_id"].max() + 1, rows["item_id"].max() + 1)
    for block in quality.blocks(len(ids)):
        scores = np.full((len(ids[block]), written.shape[1]), -np.inf, np.float32)
        known = prepared.get_known_items_sorted_internal_ids()
        scores[:, prepared.get_known_item_ids().astype(int)] = vectors[block] @ items[known].T
        written[ids[block]] = scores
    quality.report(given, "rectools", **quality.lightning(limit, best))


if __name__ == "__main__":
    main()
