"""A project small enough to train and promote in a second, made by recctl's own code.

400 users walk through 80 items: mostly on to the next one, else to a popular one. So `markov` is
far better than `item-knn`, and that than `popularity`; later days append to every log.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from ruamel.yaml import YAML

import databases
from recctl.evaluation import protocols, report
from recctl.evaluation.params import EvaluateParams
from recctl.evaluation.ranking import rank_cases
from recctl.files import write_json
from recctl.layout import Layout
from recctl.models import BASELINES, load_model
from recctl.models.base import Recommender, save_model
from recctl.models.markov import Markov
from recctl.promotion import promote as promoting
from recctl.promotion import rollback as rolling_back
from recctl.sequences import split as splitting
from recctl.sequences.encode import encode
from recctl.sequences.params import SequenceSplitParams
from recctl.sequences.store import SequenceData
from recctl.stages import sequence_split

USERS, ITEMS = 400, 80
DAY = 86_400_000_000
FIRST = 1_600_000_000_000_000
"""Microseconds: September 2020."""

POLICY: dict[str, Any] = {
    "registered_model": "tiny",
    "resamples": 1000,
    "primary": {"metrics": ["ndcg@10", "hr@10"], "margin": 0.01},
    "baselines": ["popularity"],
    "convergence": True,
    "leak": {},
}
"""What most tests promote by: no guardrails, whose latency depends on the machine."""
INGEST: dict[str, Any] = {
    "name": "tiny",
    "files": ["log.csv"],
    "format": "csv",
    "user_column": "user",
    "item_column": "item",
    "time_column": "time",
}


def make(root: Path, policy: dict[str, Any] | None = None) -> Layout:
    """A project with an empty registry, data and no model."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    set_params(root, promotion=policy or POLICY)
    databases.mlflow(root)
    layout = Layout(root)
    take_in(layout, log())
    return layout


def set_params(root: Path, **sections: dict[str, Any]) -> None:
    """params.yaml with what promotion reads; the sections given replace the former ones."""
    path = root / "params.yaml"
    yaml = YAML(typ="safe")
    document = yaml.load(path) if path.exists() else {}
    defaults: dict[str, Any] = {
        "ingest": INGEST,
        "validate": {},
        "sequence-split": {},
        "train": {"device": "cpu"},
        "evaluate": {"negatives": 5},
    }
    with path.open("w") as file:
        yaml.dump({**defaults, **document, **sections}, file)


def log(days: int = 12, seed: int = 0, items: int = ITEMS) -> pd.DataFrame:
    """user_id, item_id, timestamp: an interaction a day of every user; more days only append."""
    rng = np.random.default_rng(seed)
    at = rng.integers(items, size=USERS)
    rows = []
    for day in range(days):
        jump = rng.random(USERS) < 0.35
        popular = np.minimum(rng.geometric(0.06, USERS), items) - 1
        at = np.where(jump, popular, (at + 1) % items)
        offsets = rng.integers(DAY, size=USERS)
        rows += [
            (f"u{user:03d}", f"i{item}", FIRST + day * DAY + offset)
            for user, (item, offset) in enumerate(zip(at.tolist(), offsets.tolist(), strict=True))
        ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


def take_in(layout: Layout, frame: pd.DataFrame, **split: Any) -> SequenceData:
    """Split a log as sequence-split does; what was trained before is not touched."""
    params = SequenceSplitParams(**split)
    ordered = frame.sort_values(["user_id", "timestamp"], kind="stable").reset_index(drop=True)
    table = pa.table(
        {
            "user_id": pa.array(ordered["user_id"], pa.string()),
            "item_id": pa.array(ordered["item_id"], pa.string()),
            "timestamp": pa.array(ordered["timestamp"], pa.timestamp("us", "UTC")),
            "row": pa.array(np.arange(len(ordered)), pa.int64()),
        }
    )
    found = splitting.split(encode(table.to_batches(), params), params, {"i1": "One"})
    shutil.rmtree(layout.sequences, ignore_errors=True)
    layout.sequences.mkdir(parents=True)
    sequence_split.write(found, layout.sequences)
    write_json(layout.sequences / "report.json", {"fingerprint": found.fingerprint})
    set_params(layout.root, **{"sequence-split": split})
    return SequenceData.load(layout.sequences)


def train(layout: Layout, kind: str = "markov", *, about: dict[str, Any] | None = None) -> None:
    """Fit a counted model on the workspace's data and evaluate it."""
    data = SequenceData.load(layout.sequences)
    put(layout, BASELINES[kind].fit(data.train(), data.vocabulary.size), about=about)


def train_markov(layout: Layout, smoothing: float) -> None:
    """A Markov chain between itself (10) and popularity (1e6 and more)."""
    data = SequenceData.load(layout.sequences)
    put(layout, Markov.fit(data.train(), data.vocabulary.size, smoothing))


def put(layout: Layout, model: Recommender, *, about: dict[str, Any] | None = None) -> None:
    """Make a model the workspace's, as train and evaluate leave it."""
    data = SequenceData.load(layout.sequences)
    shutil.rmtree(layout.model, ignore_errors=True)
    layout.model.mkdir(parents=True)
    facts = {"split_fingerprint": data.fingerprint, "epochs": 0, "best_epoch_is_cap": False}
    save_model(model, layout.model, {**facts, **(about or {})})
    shutil.copy(layout.sequences / "vocabulary.json", layout.model / "vocabulary.json")
    layout.training.mkdir(parents=True, exist_ok=True)
    (layout.training / "curve.csv").write_text("epoch,loss\n")
    write_json(layout.training / "run.json", {"run_id": "0" * 32})
    evaluate(layout)


def evaluate(layout: Layout) -> None:
    """What promotion reads of the evaluate stage's outputs."""
    data = SequenceData.load(layout.sequences)
    params = EvaluateParams.load(layout.params)
    cases = data.cases("test")
    model = load_model(layout.model, torch.device("cpu"))
    ranks = {"model": rank_cases(model, cases, filter_seen=params.filter_seen)}
    counts = np.array(data.vocabulary.counts)
    layout.evaluation.mkdir(parents=True, exist_ok=True)
    report.write_ranks(layout.evaluation / "ranks.parquet", data, cases, ranks, counts)
    fingerprint = protocols.fingerprint(protocols.describe(data, cases, params))
    write_json(layout.evaluation / "metrics.json", {"fingerprint": fingerprint})


def promote(layout: Layout, model: str | float | None = None, **more: Any) -> promoting.Outcome:
    """Promote without a question; `model`, if any, is trained first: a kind, or a smoothing."""
    if isinstance(model, str):
        train(layout, model)
    elif model is not None:
        train_markov(layout, model)
    return promoting.promote(layout, **{"confirm": _yes, "say": _ignored, **more})


def rollback(layout: Layout, to: int | None = None, **more: Any) -> promoting.Outcome:
    """Roll back without a question."""
    options = {"reason": "test", "to": to, "confirm": _yes, "say": _ignored, **more}
    return rolling_back.rollback(layout, **options)


def _yes(record: Any) -> bool:
    return True


def _ignored(line: str) -> None:
    pass
