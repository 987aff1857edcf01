"""RecBole's BERT4Rec: its data set, trainer and evaluation, in a temporary folder."""

# mypy: disable-error-code="import-not-found"

import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _measure as measure
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.model.sequential_recommender import BERT4Rec
from recbole.trainer import Trainer


class First:
    """The first batches of a loader, each of them a lap once the trainer asks for the next."""

    def __init__(self, loader: Any, count: int, laps: measure.Laps) -> None:
        self._loader, self._count, self._laps = loader, count, laps

    def __iter__(self) -> Iterator[Any]:
        for _, batch in zip(range(self._count), self._loader, strict=False):
            yield batch
            self._laps.add(len(batch))

    def __len__(self) -> int:
        return self._count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def config(folder: Path, given: Namespace) -> Config:
    """RecBole's settings: those of the others, and nothing written or shown on the way."""
    chosen = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder),
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": given.max_length,
        "eval_args": {
            "split": {"LS": "valid_and_test"},
            "order": "TO",
            "group_by": "user",
            "mode": "full",
        },
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "n_layers": measure.LAYERS,
        "n_heads": measure.HEADS,
        "hidden_size": measure.WIDTH,
        "inner_size": 4 * measure.WIDTH,
        "hidden_dropout_prob": measure.DROPOUT,
        "attn_dropout_prob": measure.DROPOUT,
        "mask_ratio": given.mask,
        "ft_ratio": 0.0,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "train_batch_size": measure.BATCH,
        "eval_batch_size": measure.EVALUATION_BATCH,
        "epochs": 1,
        "worker": given.workers,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }
    return Config(model="BERT4Rec", dataset="log", config_dict=chosen)


def main() -> None:
    given = measure.settings()
    del sys.argv[1:]  # RecBole would read them
    log = given.log.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # TensorBoard's files go to the current folder
        (folder / "log").mkdir()
        chosen = config(folder, given)
        began = time.perf_counter()
        rows = measure.read(log).drop(columns="left")
        rows.columns = ["user_id:token", "item_id:token", "timestamp:float"]
        rows.to_csv(folder / "log" / "log.inter", sep="\t", index=False)
        train, _, test = data_preparation(chosen, create_dataset(chosen))
        ready = time.perf_counter() - began
        del rows

        model = BERT4Rec(chosen, train._dataset).to(chosen["device"])
        trainer, laps = Trainer(chosen, model), measure.Laps()
        batches = First(train, given.warm_up + given.batches, laps)
        trainer.fit(batches, saved=False, verbose=False, show_progress=False)

        def evaluate(users: int) -> None:
            cases = test._dataset.copy(test._dataset.inter_feat[:users])
            loader = FullSortEvalDataLoader(chosen, cases, None)
            trainer.evaluate(loader, load_best_model=False)

        measure.report(
            "RecBole",
            "recbole",
            train=laps.rate(given.warm_up),
            evaluate=measure.users_per_second(evaluate, given.users),
            data=ready,
        )


if __name__ == "__main__":
    main()
