"""Scoring a model on another catalogue than its own, against plain dictionaries."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_project as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.errors import UserError
from recctl.evaluation.ranking import Ranks, rank_cases
from recctl.files import read_json, write_json
from recctl.layout import Layout
from recctl.models.base import Scorer, save_model
from recctl.models.bert4rec import Bert4Rec, Encoder
from recctl.promotion.judge.decision import decide
from recctl.promotion.judge.evidence import Serving
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.trial import archive, scoring
from recctl.promotion.trial.contenders import training, workspace
from recctl.promotion.trial.scoring import Contender, Restricted, TestSet, Translated
from recctl.recommend import Served
from recctl.sequences.store import Cases, Histories
from recctl.sequences.vocabulary import COLD, Vocabulary


class Remembers:
    """Scores item i as `base[i]`, and notes the histories that it was given."""

    kind = "remembers"

    def __init__(self, base: list[float]) -> None:
        self.base, self.n_items = torch.tensor(base), len(base)
        self.histories: list[list[int]] = []

    def score(self, histories: Histories) -> torch.Tensor:
        self.histories += [histories[i].tolist() for i in range(len(histories))]
        return self.base.repeat(len(histories), 1)


def vocabulary(*items: str) -> Vocabulary:
    return Vocabulary(items, (1,) * len(items))


def test_a_model_of_the_same_catalogue_is_taken_as_it_is() -> None:
    model = Remembers([1.0, 2.0])
    assert Translated.between(model, vocabulary("a", "b"), vocabulary("a", "b")) is model


def test_histories_and_scores_are_mapped_by_external_id() -> None:
    """Own catalogue a b c; today's is c new a: b went, `new` came."""
    model = Remembers([10.0, 20.0, 30.0])
    seen = Translated.between(model, vocabulary("a", "b", "c"), vocabulary("c", "new", "a"))
    scores = seen.score(Histories.of([[0, 1, 2], [1], []]))
    assert model.histories == [[2, 0], [], []]
    assert scores[0].tolist() == [30.0, -math.inf, 10.0]
    assert seen.n_items == 3


def test_histories_that_share_a_long_array_are_mapped_alone() -> None:
    """A batch of a memory-mapped array must not read the whole of it."""
    model = Remembers([1.0, 2.0, 3.0])
    seen = Translated.between(model, vocabulary("a", "b", "c"), vocabulary("c", "b", "a"))
    many = Histories.of([[0, 1], [2], [0]])
    seen.score(many.select(np.array([2, 0])))
    assert model.histories == [[2], [2, 1]]


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[list[str], list[str], list[float]]:
    ids = st.lists(st.integers(0, 12).map("i{}".format), min_size=1, max_size=9, unique=True)
    own, today = draw(ids), draw(ids)
    scores = st.lists(st.integers(0, 4).map(float), min_size=len(own), max_size=len(own))
    return own, today, draw(scores)


@settings(max_examples=150, deadline=None)
@given(catalogues(), st.data())
def test_the_rank_on_another_catalogue(
    case: tuple[list[str], list[str], list[float]], data: st.DataObject
) -> None:
    """1 + the candidates that are not below the target; what the model never saw is below all."""
    own, today, base = case
    target = data.draw(st.integers(0, len(today) - 1))
    others = [item for item in range(len(today)) if item != target]
    history = data.draw(st.lists(st.sampled_from(others), max_size=4)) if others else []
    model = Translated.between(Remembers(base), vocabulary(*own), vocabulary(*today))
    cases = Cases(np.array([0]), Histories.of([history]), np.array([target], np.int32))
    (rank,) = rank_cases(model, cases).full.tolist()

    score = dict(zip(own, base, strict=True))
    if today[target] not in score:
        assert rank == len(today)
        return
    candidates = [today[item] for item in others if item not in history]
    above = [one for one in candidates if score.get(one, -math.inf) >= score[today[target]]]
    assert rank == 1 + len(above)


def test_a_restricted_model_recommends_what_is_allowed() -> None:
    limited = Restricted(Remembers([1.0, 2.0, 3.0]), np.array([True, False, True]))
    assert limited.score(Histories.of([[]]))[0].tolist() == [1.0, -math.inf, 3.0]
    assert limited.n_items == 3


def ranks(top: list[list[int]]) -> Ranks:
    return Ranks(np.ones(len(top), np.int64), top=np.array(top, np.int32))


def test_overlap_counts_items_and_not_places() -> None:
    """Two of three, none, one of three with a list that ends early: (2 + 0 + 1) / 9."""
    one = ranks([[1, 2, 3], [1, 2, 3], [1, -1, -1]])
    other = ranks([[3, 9, 1], [4, 5, 6], [1, 2, -1]])
    assert scoring._overlap(one, other) == pytest.approx(3 / 9)


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    made = tiny.make(tmp_path / "project")
    tiny.train(made, "markov")
    return made


def contender(project: Layout, scorer: Scorer, items: Vocabulary) -> Contender:
    return Contender(project.model, Served(scorer, items), "0" * 64)  # type: ignore[arg-type]


def test_figures_on_the_full_and_the_common_catalogue(project: Layout) -> None:
    """The champion lacks the item that most users took last, and loses by it, in full."""
    test = TestSet.load(project)
    lost = int(np.bincount(test.cases.targets[test.cases.targets >= 0]).argmax())
    kept = [item for i, item in enumerate(test.vocabulary.items) if i != lost]
    own = Remembers([float(-i) for i in range(len(kept))])
    sides = {
        "challenger": workspace(test),
        "champion": contender(project, own, vocabulary(*kept)),
    }
    evidence = scoring.gather(test, PromotionParams(), sides, problems=[], say=lambda line: None)
    targets = test.cases.targets
    assert evidence.champion is not None
    missed = targets == lost
    seen = np.array([lost in test.cases.histories[i] for i in range(len(test.cases))])
    assert missed.sum() > 5
    assert set(evidence.champion.ranks[missed & ~seen]) == {len(test.vocabulary.items)}
    hits = []
    for i in np.flatnonzero(~missed & (targets != COLD)):
        history = set(test.cases.histories[i].tolist()) | {lost}
        place = [kept.index(test.vocabulary.items[j]) for j in range(80) if j not in history]
        target = int(targets[i])
        mine = kept.index(test.vocabulary.items[target])
        hits.append(target not in history and sum(one < mine for one in place) < 10)
    assert evidence.common["champion"]["hr@10"] == pytest.approx(np.mean(hits))


def test_what_learnt_nothing_of_seen_items_is_scored_as_it_serves(project: Layout) -> None:
    """Its scores of seen items are high, and mean nothing: it serves without them."""
    tiny.set_params(project.root, evaluate={"negatives": 5, "filter_seen": False})
    tiny.train(project, "markov")
    test = TestSet.load(project)
    items = test.vocabulary
    champion = contender(project, Remembers([float(-i) for i in range(items.size)]), items)
    unseen = dataclasses.replace(champion.served, unseen_only=True)
    sides = {
        "challenger": workspace(test),
        "champion": dataclasses.replace(champion, served=unseen),
        "best": champion,
    }
    evidence = scoring.gather(test, PromotionParams(), sides, problems=[], say=lambda line: None)
    assert evidence.champion is not None
    assert evidence.best is not None
    for i, target in enumerate(test.cases.targets.tolist()):
        history = set(test.cases.histories[i].tolist())
        rivals = target - len(history & set(range(target)))
        assert evidence.best.ranks[i] == 1 + target
        assert evidence.champion.ranks[i] == (items.size + 1 if target in history else 1 + rivals)
    with pytest.raises(UserError, match="mean nothing"):
        unseen.check(filter_seen=test.params.filter_seen)


def test_a_workspace_that_learnt_nothing_of_seen_items_is_refused(project: Layout) -> None:
    tiny.set_params(project.root, evaluate={"negatives": 5, "filter_seen": False})
    tiny.train(project, "markov")
    test = TestSet.load(project)
    network = Bert4Rec(Encoder(test.vocabulary.size, 5, 8, 1, 2, 0.0, 0.0))
    about = {"split_fingerprint": test.data.fingerprint, "params": {"filter_seen": True}}
    save_model(network, project.model, about)
    with pytest.raises(UserError, match="was trained to rank what a user has not seen"):
        workspace(test)


def test_the_evaluation_must_be_of_todays_data(project: Layout) -> None:
    tiny.take_in(project, tiny.log(days=13))
    with pytest.raises(UserError, match=r"metrics.json was measured on other data.*dvc repro"):
        TestSet.load(project)


def rewrite(project: Layout, change: object) -> str | None:
    test = TestSet.load(project)
    model = workspace(test).served.model
    path = project.evaluation / "ranks.parquet"
    change(pd.read_parquet(path)).to_parquet(path)  # type: ignore[operator]
    return scoring.disagreement(test, test.scored(test.rank(model)))


def test_the_order_of_the_evaluations_users_does_not_matter(project: Layout) -> None:
    assert rewrite(project, lambda table: table.sample(frac=1.0, random_state=0)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.iloc[1:], "does not hold today's test users"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "does not hold today's test users"),
        (lambda table: table.assign(rank=1), "they are not of the same model"),
        (lambda table: table.assign(user_id="x" + table["user_id"]), "today's test users"),
    ],
)
def test_an_evaluation_of_something_else_is_reported(
    project: Layout, change: object, said: str
) -> None:
    reason = rewrite(project, change)
    assert reason is not None
    assert said in reason


def test_evidence_survives_the_disk(project: Layout, tmp_path: Path) -> None:
    test = TestSet.load(project)
    policy = PromotionParams.model_validate({**tiny.POLICY, "slices": {"minimum_users": 20}})
    sides = {"challenger": workspace(test), "champion": workspace(test)}
    gathered = scoring.gather(test, policy, sides, problems=["one"], say=lambda line: None)
    evidence = dataclasses.replace(gathered, training=training(project), serving=Serving(26))
    order = np.random.default_rng(0).permutation(len(evidence.users))
    shuffled = dataclasses.replace(
        evidence.challenger,
        users=evidence.challenger.users[order],
        ranks=evidence.challenger.ranks[order],
    )
    changed = dataclasses.replace(evidence, challenger=shuffled)
    archive.save(changed, test.data.user_ids, tmp_path, b"key")
    again = archive.load(tmp_path)
    assert decide(again, policy) == decide(evidence, policy)
    assert again.problems == ["one"]
    sound = dataclasses.replace(again, problems=[])
    assert decide(sound, policy) == decide(dataclasses.replace(evidence, problems=[]), policy)
    assert decide(sound, policy).verdict == "rejected"


def test_evidence_that_is_damaged(project: Layout, tmp_path: Path) -> None:
    write_json(tmp_path / archive.FACTS, {"fingerprints": {}, "slices": [], "leaks": []})
    pd.DataFrame({"user_index": [0]}).to_parquet(tmp_path / archive.TABLE)
    with pytest.raises(UserError, match="is damaged"):
        archive.load(tmp_path)


@pytest.mark.parametrize("targets", ["successive", "all"])
def test_several_targets_of_a_user_are_refused(project: Layout, targets: str) -> None:
    path = project.sequences / "report.json"
    write_json(path, {**read_json(path, "sequence-split"), "targets": targets})
    with pytest.raises(UserError, match=f"one target of each user, and .* is '{targets}'") as error:
        TestSet.load(project)
    assert "set it to first or last" in str(error.value)
