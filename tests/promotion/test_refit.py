"""What passed is trained again on everything; that serves, the judged model is compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_project as tiny
import torch
from served_here import Here

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.models import load_model
from recctl.models.blend import Blend
from recctl.models.markov import Markov
from recctl.promotion import compare, history
from recctl.promotion import promote as promoting
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Refit
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger.registry import EVIDENCE
from recctl.promotion.serving import Recommendations
from recctl.promotion.trial import archive, contenders, refit, service
from recctl.promotion.trial.scoring import TestSet
from recctl.promotion.verify import verify
from recctl.recommend import Users
from recctl.render.console import Console
from recctl.sequences.everything import everything
from recctl.sequences.store import Histories, SequenceData
from recctl.serve.champion import Champion
from recctl.training.checkpoint import Checkpoint
from recctl.training.launch import fit_project
from recctl.training.params import TrainParams

pytestmark = pytest.mark.usefixtures("quick_decisions")

POLICY = {**tiny.POLICY, "baselines": None, "first_model": "any", "refit": {}}
NEW = "i_new"
ABOUT = {"params": TrainParams(model="markov").model_dump()}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Process", Here)


def log() -> pd.DataFrame:
    """The tiny log, where the last interaction of some users is with an item that is new."""
    frame = tiny.log()
    last = frame.groupby("user_id")["timestamp"].idxmax()
    frame.loc[last.iloc[:60], "item_id"] = NEW
    return frame


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    layout = tiny.make(tmp_path / "project", POLICY)
    tiny.take_in(layout, log())
    return layout


def promote(layout: Layout, kind: str = "markov", **more: Any) -> promoting.Outcome:
    tiny.train(layout, kind, about=ABOUT)
    return tiny.promote(layout, **more)


def test_every_interaction_is_training(project: Layout, tmp_path: Path) -> None:
    data = SequenceData.load(project.sequences)
    assert NEW not in data.vocabulary.index
    (tmp_path / "all").mkdir()
    whole = everything(data, tmp_path / "all")
    frame = log().sort_values(["user_id", "timestamp"])
    wanted = frame.groupby("user_id")["item_id"].apply(list)
    names = whole.vocabulary.items
    train = whole.train()
    assert [[names[item] for item in train[i].tolist()] for i in range(len(train))] == [*wanted]
    counts = frame["item_id"].value_counts()
    assert dict(zip(names, whole.vocabulary.counts, strict=True)) == counts.to_dict()
    assert whole.vocabulary.titles["i1"] == "One"
    assert names[: data.vocabulary.size] == data.vocabulary.items
    assert whole.fingerprint != data.fingerprint
    assert [target for target in whole.cases("test").targets if target == names.index(NEW)]


def test_the_judged_model_is_compared_and_the_other_one_serves(project: Layout) -> None:
    done = promote(project)
    assert done.record.verdict == "promoted"
    rows = {row.name: row for row in done.record.of("refit")}
    assert [*rows] == ["lists", "ndcg@10", "hr@10"]
    assert "all 4,800 interactions, 1 new items among them" in rows["lists"].reason
    assert rows["ndcg@10"].challenger > rows["ndcg@10"].reference

    registry = history.open_registry(project)
    found = contenders.registered(registry, project, 1, history.reading(project)[1].line)
    assert NEW not in found.served.vocabulary.index
    assert found.served.vocabulary.items == SequenceData.load(project.sequences).vocabulary.items
    _, answers, folder = compare.served(project, "champion")
    assert answers.vocabulary.counts[answers.vocabulary.index[NEW]] == 60
    whole = Markov.fit(_all(project), answers.vocabulary.size).tensors()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in answers.model.tensors().items())

    service_of = Champion(project, print)
    service_of.renew()
    assert service_of.current is not None
    assert service_of.current.served.vocabulary.index == answers.vocabulary.index
    user = log().query("item_id == @NEW")["user_id"].iloc[0]
    history_of = service_of.users.history(user)
    assert history_of.item_ids[-1] == NEW
    pyfunc = Recommendations.load(folder.parents[1]).served
    assert pyfunc.vocabulary.index == answers.vocabulary.index

    registry = history.open_registry(project)
    assert all(check.ok for check in verify(registry, project, everything=True))
    again = tiny.promote(project)
    assert again.note == "nothing to do: the workspace's model is version 1, which serves already"


def _all(layout: Layout) -> Any:
    data = SequenceData.load(layout.sequences)
    return Histories(data.all_items, np.asarray(data.offsets[:-1]), np.asarray(data.offsets[1:]))


def test_lists_that_are_others_than_judged_do_not_serve(project: Layout) -> None:
    strict = {**POLICY, "refit": {"minimum_overlap": 0.999}}
    tiny.set_params(project.root, promotion=strict)
    done = promote(project)
    assert (done.record.verdict, done.exit_code) == ("rejected", 3)
    assert "of each list is as judged (at least 99.9% needed)" in done.record.sentence
    assert done.record.approved_by is None
    assert history.open_registry(project).aliases() == {}
    tiny.set_params(project.root, promotion=POLICY)
    taken = tiny.promote(project)  # the folder of the first attempt is used again
    assert taken.record.verdict == "promoted"
    assert taken.record.challenger.version == done.record.challenger.version
    assert history.open_registry(project).aliases()["champion"] == 1


def test_what_is_forced_serves_as_it_was_judged(project: Layout) -> None:
    done = promote(project, force=True, reason="an emergency")
    assert done.record.of("refit") == []
    assert compare.served(project, "champion")[1].vocabulary.index.get(NEW) is None


def test_a_rejected_model_is_not_trained_again(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(project)
    monkeypatch.setattr(refit, "trained", None)
    assert promote(project, "popularity").record.verdict == "rejected"


def test_split_of_before_cold_ids_were_kept(project: Layout) -> None:
    (project.sequences / "cold.parquet").unlink()
    with pytest.raises(UserError, match=r"not say which items are cold.*dvc repro -f sequence"):
        promote(project)
    assert history.open_registry(project).aliases() == {}
    users = Users(project.sequences)
    user = log().query("item_id == @NEW")["user_id"].iloc[0]
    assert NEW not in users.history(user).item_ids


def test_a_network_and_a_blend_are_trained_again(project: Layout) -> None:
    params = TrainParams.model_validate(
        {
            "model": "blend",
            "max_epochs": 3,
            "device": "cpu",
            "filter_seen": True,
            "blend": {"network": "gru4rec"},
            "gru4rec": {"max_length": 12, "hidden_size": 8},
        }
    )
    data = SequenceData.load(project.sequences)
    size = data.vocabulary.size
    checkpoint = Checkpoint(project.state / "checkpoints", "0" * 64)
    network = fit_project(data, params.of_network(), True, checkpoint).model
    markov = Markov.fit(data.train(), size)
    model = Blend({"gru4rec": network, "markov": markov}, {"gru4rec": 1.0, "markov": 0.25})
    tiny.put(project, model, about={"params": params.model_dump(), "best_epoch": 2, "epochs": 3})
    test = TestSet.load(project)
    again = refit.trained(test, contenders.workspace(test), Console(quiet=True))
    blend = again.answers.model
    assert isinstance(blend, Blend)
    assert blend.weights == model.weights
    assert blend.n_items == size + 1
    assert isinstance(load_model(again.answering, torch.device("cpu")), Blend)
    assert (
        again.answering
        == refit.trained(test, contenders.workspace(test), Console(quiet=True)).answering
    )


def test_rows_of_what_went_wrong(project: Layout) -> None:
    promote(project)
    registry = history.open_registry(project)
    record = history.decision(registry, 1).body
    policy = PromotionParams.model_validate(record.policy)
    kept = archive.load(registry.fetch(record.evidence.run_id, EVIDENCE, project.root / "kept", []))
    assert kept.refit is not None
    means = {"judged": {"ndcg@10": 0.3, "hr@10": 0.5}, "again": {"ndcg@10": 0.2, "hr@10": 0.5}}
    bad = replace(kept, refit=Refit(10, 0, 0.05, means, "the service cannot answer"))
    rows = [row for row in decide(bad, policy).gates if row.gate == "refit"]
    assert {row.name: row.outcome for row in rows} == {
        "lists": "fail",
        "ndcg@10": "fail",
        "hr@10": "pass",
        "answers": "fail",
    }
    assert decide(bad, policy).verdict == "rejected"
    off = policy.model_copy(update={"refit": None})
    assert [row for row in decide(bad, off).gates if row.gate == "refit"] == []
