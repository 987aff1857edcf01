"""RecBole's SASRec and BERT4Rec, with its default settings."""

# mypy: disable-error-code="import-not-found"

import contextlib
import copy
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _quality as quality
import numpy as np
import torch
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import get_model, init_seed
from recbole_bert4rec import config, split, write

MODELS = {"sasrec": "SASRec", "bert4rec": "BERT4Rec"}


class UntilOver:
    """The batches of a loader until the time is over."""

    def __init__(self, loader: Any, clock: quality.Clock) -> None:
        self._loader, self._clock = loader, clock
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            yield batch
            self.count += 1
            if self._clock.over:
                return

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class Best:
    """The weights of the best validation; stops the training when the time is over."""

    def __init__(self, model: torch.nn.Module, clock: quality.Clock) -> None:
        self._model, self._clock = model, clock
        self.score, self.epoch = -1.0, 0
        self.weights: dict[str, Any] = {}

    def __call__(self, epoch: int, score: float) -> None:
        if score > self.score:
            self.score, self.epoch = score, epoch + 1
            self.weights = copy.deepcopy(self._model.state_dict())
        if self._clock.over:
            raise quality.TimeOver


def histories(rows: Any, dataset: Any, length: int) -> Interaction:
    """Every user's last items by RecBole's numbers, filled with zeros on the right."""
    numbers = dataset.token2id("item_id", rows["item_id"].astype(str).to_numpy())
    users = rows["user_id"].to_numpy()
    left = rows.groupby("user_id").cumcount(ascending=False).to_numpy()
    kept = left < length
    lengths = np.minimum(np.bincount(users), length)
    items = np.zeros((len(lengths), length), np.int64)
    items[users[kept], lengths[users[kept]] - 1 - left[kept]] = numbers[kept]
    return Interaction({"item_id_list": items, "item_length": lengths})


def main() -> None:
    given = quality.settings()
    del sys.argv[1:]  # RecBole would read them
    rows = quality.read(given.project)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # TensorBoard's files go to the current folder
        write(rows, folder)
        chosen = config(MODELS[given.model], folder, {"eval_args": split("valid_only")})
        init_seed(chosen["seed"], chosen["reproducibility"])
        data = create_dataset(chosen)
        train, validation, _ = data_preparation(chosen, data)
        model = get_model(MODELS[given.model])(chosen, train._dataset)
        trainer, clock = Trainer(chosen, model), quality.Clock(given.minutes)
        batches, best = UntilOver(train, clock), Best(model, clock)
        with contextlib.suppress(quality.TimeOver):
            trainer.fit(batches, validation, verbose=False, saved=False, callback_fn=best)
        minutes = clock.spent
    model.load_state_dict(best.weights)
    model.eval()

    count = rows["item_id"].max() + 1
    numbers = data.token2id("item_id", np.arange(count).astype(str))
    asked = histories(rows, data, chosen["MAX_ITEM_LIST_LENGTH"])
    written = quality.scores(given.folder, len(asked), count)
    with torch.inference_mode():
        for block in quality.blocks(len(asked)):
            written[block] = model.full_sort_predict(asked[block])[:, numbers].numpy()
    quality.report(
        given,
        "recbole",
        minutes=minutes,
        epochs=batches.count / len(batches),
        best_epoch=best.epoch,
        validation=f"{chosen['valid_metric']} {best.score:.4f}",
    )


if __name__ == "__main__":
    main()
