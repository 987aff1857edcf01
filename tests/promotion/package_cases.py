"""A small model folder and what is registered of it."""

import shutil
from pathlib import Path

import leak_cases
import torch

from recctl.models import MODELS, NEURAL
from recctl.models.base import Counted, Recommender, save_model
from recctl.models.blend import Blend
from recctl.promotion.trial import package
from recctl.promotion.trial.training_record import TrainingRecord
from recctl.sequences.store import SequenceData
from recctl.sequences.vocabulary import Vocabulary
from recctl.training.params import TrainParams

EVENTS = leak_cases.log(
    "ann: a b c d e, bob: a c b d a, cyd: b a c e d, dan: c b a d c, eve: d a b c b"
)
TITLES = {"a": "Ardent", "b": 'Bräu "B"', "c": "Cinder"}
"""Not of every item: d and e have none."""


def recommender(data: SequenceData, kind: str) -> Recommender:
    """A model of any kind; a network with its first weights."""
    model = MODELS[kind]
    if issubclass(model, Counted):
        return model.fit(data.train(), data.vocabulary.size)
    if kind == Blend.kind:
        parts = {name: recommender(data, name) for name in ("sasrec", "markov", "item-knn")}
        return Blend(parts, {"sasrec": 0.5, "markov": 0.25, "item-knn": 1.5})
    params = TrainParams.model_validate({"model": kind, kind: {"max_length": 8, "hidden_size": 8}})
    encoder = NEURAL[kind].build(data.vocabulary.size, params.network())
    encoder.initialise(torch.Generator().manual_seed(0))
    return NEURAL[kind](encoder.eval().requires_grad_(False))


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
