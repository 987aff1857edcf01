"""On the starter data the order of films matters: what a model makes of it shows in its rank."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import databases
from recctl.evaluation.metrics import per_case
from recctl.evaluation.ranking import rank_cases
from recctl.evaluation.statistics import interval
from recctl.layout import Layout
from recctl.models.base import Recommender
from recctl.models.markov import Markov
from recctl.models.popularity import Popularity
from recctl.render.console import Console
from recctl.sequences.store import Cases, SequenceData
from recctl.stages import ingest, sequence_split
from recctl.training.checkpoint import Checkpoint
from recctl.training.fit import fit
from recctl.training.params import Bert4RecParams, TrainParams

EPOCHS = 4
PARAMS = """
ingest: {name: starter, files: [interactions.csv.gz], format: csv, items_file: items.csv}
sequence-split: {protocol: leave-one-out, minimum_user_interactions: 5}
"""
TRAIN = TrainParams(
    max_epochs=EPOCHS,
    decay_epochs=EPOCHS,
    validate_every=EPOCHS,
    batch_size=32,
    learning_rate=4e-3,
    average_epochs=1.0,
    bert4rec=Bert4RecParams(max_length=50, dropout=0.1, mask_probability=0.35, last_item_share=0.5),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SequenceData:
    """The starter data as ingest and sequence-split leave it."""
    layout = Layout(tmp_path_factory.mktemp("project"))
    shutil.copytree(databases.starter(), layout.data)
    layout.params.write_text(PARAMS)
    ingest.run(layout)
    sequence_split.run(layout)
    return SequenceData.load(layout.sequences)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For so small a model one thread is as fast as two, and it gives the same on any machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ndcg(model: Recommender, cases: Cases) -> NDArray[np.float64]:
    """NDCG@10 of every case, among the whole catalogue."""
    return per_case("ndcg@10", rank_cases(model, cases).full, model.n_items)


def bert4rec(data: SequenceData, folder: Path) -> Recommender:
    validation = data.cases("validation")

    def validate(model: Recommender) -> float:
        return float(ndcg(model, validation).mean())

    return fit(
        data.train(),
        data.vocabulary.size,
        TRAIN,
        torch.device("cpu"),
        validate=validate,
        checkpoint=Checkpoint(folder, "f" * 64),
        console=Console(quiet=True),
    ).model


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_bert4rec_beats_markov_and_markov_popularity(data: SequenceData, tmp_path: Path) -> None:
    """Their 95% intervals do not touch, nor does that of the paired difference touch zero."""
    train, n_items, cases = data.train(), data.vocabulary.size, data.cases("test")
    values = {
        "popularity": ndcg(Popularity.fit(train, n_items), cases),
        "markov": ndcg(Markov.fit(train, n_items), cases),
        "bert4rec": ndcg(bert4rec(data, tmp_path), cases),
    }
    rng = np.random.default_rng(0)
    found = {name: interval(each, 2_000, rng) for name, each in values.items()}
    print({name: f"{one.low:.3f} {one.value:.3f} {one.high:.3f}" for name, one in found.items()})
    assert found["popularity"].high < found["markov"].low
    assert found["markov"].high < found["bert4rec"].low
    for better, worse in (("markov", "popularity"), ("bert4rec", "markov")):
        assert interval(values[better] - values[worse], 2_000, rng).low > 0.02
