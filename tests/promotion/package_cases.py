"""A small model folder and what is registered of it."""

import shutil
from pathlib import Path

import leak_cases
import torch

from recctl.models import MODELS
from recctl.models.base import Counted, Recommender, save_model
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.promotion import package
from recctl.promotion.leak import TrainingRecord
from recctl.sequences.store import SequenceData
from recctl.sequences.vocabulary import Vocabulary

EVENTS = leak_cases.log(
    "ann: a b c d e, bob: a c b d a, cyd: b a c e d, dan: c b a d c, eve: d a b c b"
)
TITLES = {"a": "Ardent", "b": 'Bräu "B"', "c": "Cinder"}
"""Not of every item: d and e have none."""


def _bert4rec(data: SequenceData) -> Bert4Rec:
    encoder = Encoder(
        data.vocabulary.size, 8, 8, layers=1, heads=2, dropout=0.1, attention_dropout=0.0
    )
    encoder.initialise(torch.Generator().manual_seed(0))
    return Bert4Rec(encoder.eval().requires_grad_(False))


def recommender(data: SequenceData, kind: str) -> Recommender:
    """A model of any kind; bert4rec with its first weights."""
    model = MODELS[kind]
    if issubclass(model, Counted):
        return model.fit(data.train(), data.vocabulary.size)
    return _bert4rec(data)


def model_folder(folder: Path, kind: str = "markov") -> tuple[Path, TrainingRecord]:
    """A trained model as the train stage leaves it, and the record of its training."""
    data = leak_cases.split(folder / "sequences", EVENTS)
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    save_model(recommender(data, kind), model, {"split_fingerprint": data.fingerprint})
    named = Vocabulary(data.vocabulary.items, data.vocabulary.counts, TITLES)
    named.save(model / "vocabulary.json")
    return model, TrainingRecord.of(data, {"data_md5": "d41d8"})


def version(folder: Path, kind: str = "markov") -> Path:
    """A model version's folder."""
    model, record = model_folder(folder, kind)
    package.build(model, folder / "version", record=record)
    return folder / "version"
