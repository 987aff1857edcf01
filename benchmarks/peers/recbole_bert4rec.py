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
import pandas as pd
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


def config(model: str, folder: Path, chosen: dict[str, Any]) -> Config:
    """RecBole's settings: its defaults and the chosen ones; it shows nothing on the way."""
    always = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder),
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": None,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }
    return Config(model=model, dataset="log", config_dict=always | chosen)


def write(rows: pd.DataFrame, folder: Path) -> None:
    """Write user_id, item_id and timestamp as RecBole's data set `log`."""
    (folder / "log").mkdir()
    kept = rows[["user_id", "item_id", "timestamp"]]
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    kept.to_csv(folder / "log" / "log.inter", sep="\t", index=False, header=header)


def split(kind: str) -> dict[str, Any]:
    """RecBole's `eval_args` of leave-one-out: `valid_and_test` or `valid_only`."""
    return {"split": {"LS": kind}, "order": "TO", "group_by": "user", "mode": "full"}


def settings(given: Namespace) -> dict[str, Any]:
    """What the others are given, too."""
    return {
        "MAX_ITEM_LIST_LENGTH": given.max_length,
        "eval_args": split("valid_and_test"),
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
        "train_batch_size": measure.BATCH,
        "eval_batch_size": measure.EVALUATION_BATCH,
        "epochs": 1,
        "worker": given.workers,
    }


def main() -> None:
    given = measure.settings()
    del sys.argv[1:]  # RecBole would read them
    log = given.log.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # TensorBoard's files go to the current folder
        chosen = config("BERT4Rec", folder, settings(given))
        began = time.perf_counter()
        rows = measure.read(log)
        write(rows, folder)
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
