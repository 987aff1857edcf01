"""Any two models on today's test set."""

import pytest
import tiny_project as tiny

from recctl.errors import UserError
from recctl.evaluation.metrics import means
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.compare import compare
from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.trial.contenders import workspace
from recctl.promotion.trial.scoring import TestSet


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Version 1 is item-knn and serves; version 2 is nearly popularity; the workspace is markov."""
    made = tiny.make(tmp_path_factory.mktemp("compare") / "project")
    tiny.promote(made, "item-knn")
    tiny.promote(made, 1e9)
    tiny.train(made, "markov")
    return made


def compared(project: Layout, first: str, second: str) -> DecisionRecord:
    return compare(project, first, second, say=lambda line: None)


def row(record: DecisionRecord, name: str) -> Gate:
    (found,) = [gate for gate in record.gates if gate.name == name]
    return found


def test_a_version_against_the_workspace(project: Layout) -> None:
    record = compared(project, "workspace", "1")
    test = TestSet.load(project)
    own = means(["ndcg@10"], test.rank(workspace(test).served.model).full, 80)["ndcg@10"]
    assert record.means.full["challenger"]["ndcg@10"] == pytest.approx(own)
    ndcg = row(record, "ndcg@10")
    assert ndcg.challenger - ndcg.reference == pytest.approx(ndcg.difference)
    assert (record.verdict, record.kind) == (None, "comparison")
    assert {gate.outcome for gate in record.gates} == {"shown"}
    assert (record.challenger.version, record.champion.version) == (None, 1)


def test_the_other_way_round_is_the_same_with_its_sign_changed(project: Layout) -> None:
    there, back = (
        row(compared(project, "2", "1"), "hr@10"),
        row(compared(project, "1", "2"), "hr@10"),
    )
    assert there.difference == pytest.approx(-back.difference)
    assert there.difference < 0


def test_a_model_against_itself(project: Layout) -> None:
    ndcg = row(compared(project, "1", "champion"), "ndcg@10")
    assert (ndcg.difference, ndcg.low, ndcg.high) == (0, 0, 0)


def test_a_comparison_leaves_nothing_behind(project: Layout) -> None:
    registry = history.open_registry(project)
    before = registry.entries(), registry.aliases(), registry.versions()
    compared(project, "workspace", "2")
    assert (registry.entries(), registry.aliases(), registry.versions()) == before


def test_a_name_that_nothing_has(project: Layout) -> None:
    with pytest.raises(UserError, match=r"no version 'chmpion'.*best, champion, workspace"):
        compared(project, "chmpion", "1")
    with pytest.raises(UserError, match="no version 99"):
        compared(project, "99", "1")
