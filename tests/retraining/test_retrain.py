"""A retraining from new data to a published decision; data, git, DVC and MLflow are real."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_project as small
import tiny_project as tiny

from recctl import lock, pipeline
from recctl.errors import MayPass, UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.rollback import rollback
from recctl.render.grid import Grid
from recctl.retraining import record
from recctl.retraining.pages import Page
from recctl.retraining.run import Hooks, collect

pytestmark = pytest.mark.usefixtures("quick_decisions", "quick_dvc", "quick_stages")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    return small.make(tmp_path / "project")


def decisions(layout: Layout) -> list[str]:
    return [row.body.verdict for row in history.decisions(history.open_registry(layout))]


def versions(layout: Layout) -> list[int]:
    return [row.version for row in history.versions(history.open_registry(layout))]


def test_three_days(project: Layout) -> None:
    """The first model serves; a worse one is rejected; nothing new is nothing to do."""
    first = small.retrain(project)
    assert (first.name, first.intake.new, first.nothing_new) == ("promoted-v1", 0, False)
    assert small.commits(project) == ["first"]  # no file of DVC's changed
    small.drop(project, 10, 11)
    small.settings(project, train={"device": "cpu", "model": "popularity"})
    second = small.retrain(project)
    assert (second.name, second.intake.new) == ("rejected", tiny.USERS)
    assert small.commits(project)[0] == "Retraining: rejected (decision 2)"
    third = small.retrain(project)
    assert third.nothing_new
    assert third.name == "nothing-new"
    assert third.sentence.endswith("ended rejected")
    assert decisions(project) == ["promoted", "rejected"]
    assert small.git(project.root, "status", "--porcelain").split() == ["M", "params.yaml"]


def test_the_same_key_is_decided_upon_once_whoever_asks(project: Layout) -> None:
    """As for a worker whose disk knows nothing of what was done."""
    small.retrain(project)
    (project.state / "retrain.json").unlink()
    again = small.retrain(project)
    assert again.nothing_new
    assert (decisions(project), versions(project)) == (["promoted"], [1])
    assert record.read(project) is not None


def test_a_failed_validation_changes_nothing_and_is_shown(project: Layout) -> None:
    small.retrain(project)
    small.drop(project, 10, 11)
    (project.root / "bad-data").touch()
    shown: list[Page] = []
    with pytest.raises(pipeline.StageFailed) as error:
        small.retrain(project, Hooks(say=lambda line: None, show=shown.append))
    assert error.value.stage == "validate"
    page = shown[-1]
    assert (page.key, page.title) == ("validation", "Failed: volume-break")
    assert isinstance(page.content, Grid)
    assert "99.0" in map(str, page.content.rows[0])
    assert decisions(project) == ["promoted"]
    (project.root / "bad-data").unlink()
    fixed = small.retrain(project)
    assert fixed.intake.new == 0  # taken in the night before
    assert decisions(project)[1:] == [fixed.record.ending]
    assert small.commits(project)[0].startswith("Retraining: ")


@contextlib.contextmanager
def remote_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Publishing fails in this block, and so does the retraining."""

    def away(*arguments: Any, **more: Any) -> None:
        raise MayPass("no answer from the remote")

    with monkeypatch.context() as broken:
        broken.setattr("recctl.retraining.run.publish.publish", away)
        with pytest.raises(MayPass, match="no answer"):
            yield


@pytest.mark.parametrize("edited", [False, True], ids=["same-settings", "other-settings"])
def test_an_unpublished_decision_is_published_first(
    project: Layout, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    """The remote is away after the decision; the next run commits it before it takes in more."""
    small.retrain(project)

    small.drop(project, 10, 11)
    with remote_away(monkeypatch):
        small.retrain(project)
    left = record.read(project)
    assert left is not None
    assert left.state == "decided"
    assert small.commits(project) == ["first"]
    small.drop(project, 11, 12)
    if edited:
        small.settings(project, train={"device": "cpu", "seed": 7})
    small.retrain(project)
    subjects = small.commits(project)
    assert len(subjects) == 3
    assert subjects[1].endswith("(decision 2)")
    assert len(decisions(project)) == 3


def test_a_decision_published_late_is_the_result_of_the_run_that_publishes_it(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    endings: list[str | None] = []
    shown: list[str] = []
    hooks = Hooks(
        say=lambda line: None,
        show=lambda page: shown.append(page.key),
        finished=lambda done: endings.append(done.ending),
    )
    with remote_away(monkeypatch):
        small.retrain(project, hooks)
    assert endings == []
    shown.clear()
    late = small.retrain(project, hooks)
    assert (late.name, late.nothing_new, endings) == ("promoted-v1", False, ["promoted"])
    assert "decision" in shown
    assert small.retrain(project, hooks).name == "nothing-new"
    assert endings == ["promoted"]


def test_what_came_is_shown_though_another_source_failed(project: Layout) -> None:
    """In the first try the folder's events come and the database is away; in the second it is."""
    url = f"sqlite:///{project.root / 'events.db'}"
    query = {"query": "select * from events where at > :watermark", "watermark": "at"}
    sql = {"kind": "sql", "name": "shop", "url": url, **query}
    folder = {"kind": "folder", "path": "incoming"}
    small.settings(project, intake={"sources": [folder, sql]})
    small.drop(project, 10, 11)
    (project.root / "incoming" / "readme.xyz").write_text("no log")
    os.utime(project.root / "incoming" / "readme.xyz", (0, 0))
    shown: list[Page] = []
    tries = 0

    def step(name: str, work: Any, /) -> Any:
        nonlocal tries
        if name != "intake":
            return work()
        for _ in range(2):
            tries += 1
            with pytest.raises(UserError, match="shop"):
                work()
        return work()

    with pytest.raises(UserError, match="shop"):
        small.retrain(project, Hooks(say=lambda line: None, show=shown.append, step=step))
    assert tries == 2
    [page] = shown
    assert (page.key, page.title) == ("intake", f"{tiny.USERS:,} new events")
    assert isinstance(page.content, Grid)
    assert [str(row[1]) for row in page.content.rows] == ["days-10-11.csv", "readme.xyz"]


def test_a_report_that_validate_did_not_write_is_not_shown(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC is busy: the report that is there is of older data."""
    small.retrain(project)
    small.drop(project, 10, 11)

    def busy(layout: Layout, name: str, on_line: Any, *, lock: object = None) -> Any:
        if name == "validate":
            raise pipeline.StageMayPass("stage 'validate' failed", "validate", "DVC is busy")
        return small.stage(layout, name, on_line)

    monkeypatch.setattr(pipeline, "stage", busy)
    shown: list[str] = []
    with pytest.raises(MayPass, match="busy"):
        small.retrain(
            project, Hooks(say=lambda line: None, show=lambda page: shown.append(page.key))
        )
    assert shown == ["intake"]


def test_a_person_is_asked_and_says_yes(project: Layout) -> None:
    small.settings(project, retrain={"approval": "manual"})
    asked: list[dict[str, Any]] = []
    shown: list[Page] = []

    def yes(body: dict[str, Any]) -> str:
        asked.append(body)
        assert "promotion of tiny" in str(shown[-1].content)
        return "Ann\n Lee"

    result = small.retrain(project, Hooks(say=lambda line: None, show=shown.append, approve=yes))
    assert [body.verdict for body in asked] == ["promoted"]
    assert result.name == "promoted-v1"
    (entry,) = history.open_registry(project).entries()
    assert entry.content["approved_by"] == "Ann Lee"
    assert "approved by Ann Lee" in str(shown[-1].content)


def test_no_is_no_and_is_not_asked_again(project: Layout) -> None:
    small.settings(project, retrain={"approval": "manual"})
    asked: list[str] = []

    def no(body: dict[str, Any]) -> bool:
        asked.append(body.verdict)
        return False

    hooks = Hooks(say=lambda line: None, approve=no)
    assert small.retrain(project, hooks).name == "not-promoted"
    assert small.retrain(project, hooks).name == "nothing-new"
    assert (asked, decisions(project), versions(project)) == (["promoted"], [], [])


def test_a_model_that_would_not_pass_raises_no_question(project: Layout) -> None:
    small.retrain(project)
    small.settings(
        project,
        retrain={"approval": "manual"},
        train={"device": "cpu", "model": "popularity"},
    )

    def never(body: dict[str, Any]) -> bool:
        raise AssertionError("asked about a model that would be rejected")

    result = small.retrain(project, Hooks(say=lambda line: None, approve=never))
    assert result.name == "rejected"


def test_a_yes_is_for_the_model_that_was_shown(project: Layout) -> None:
    """Somebody changes the model while a person thinks: the yes was not for that one."""
    small.retrain(project)
    small.settings(project, retrain={"approval": "manual"})
    small.settings(project, train={"device": "cpu", "model": "markov"})
    small.drop(project, 10, 12)

    def slow(body: dict[str, Any]) -> bool:
        tiny.train_markov(project, smoothing=9.0)
        return True

    before = versions(project)
    result = small.retrain(project, Hooks(say=lambda line: None, approve=slow))
    assert result.name in ("not-promoted", "rejected")
    assert len(versions(project)) - len(before) == (result.name == "rejected")


def test_a_yes_against_another_champion_is_asked_for_again(project: Layout) -> None:
    """While a person thinks a colleague at the terminal takes the champion out of service."""
    small.settings(project, promotion={**tiny.POLICY, "baselines": None, "first_model": "any"})
    for number, model in enumerate(("popularity", "item-knn")):
        small.settings(project, train={"device": "cpu", "model": model})
        assert small.retrain(project).name == f"promoted-v{number + 1}"
    small.settings(
        project, retrain={"approval": "manual"}, train={"device": "cpu", "model": "markov"}
    )
    champions: list[int | None] = []

    def yes(body: dict[str, Any]) -> bool:
        champions.append(body.saw.champion)
        if len(champions) == 1:
            rollback(project, reason="test", to=None, confirm=lambda body: True, say=print)
        return True

    result = small.retrain(project, Hooks(say=lambda line: None, approve=yes))
    assert champions == [2, 1]
    assert result.name == "promoted-v3"


def test_settings_changed_while_a_person_thinks_are_not_decided_upon(project: Layout) -> None:
    small.settings(project, retrain={"approval": "manual"})

    def slow(body: dict[str, Any]) -> bool:
        small.settings(project, promotion={**tiny.POLICY, "floors": {"ndcg@10": 0.01}})
        return True

    with pytest.raises(UserError, match=r"params\.yaml or recctl's code changed"):
        small.retrain(project, Hooks(say=lambda line: None, approve=slow))
    assert decisions(project) == []


def test_several_targets_of_a_user_are_refused_before_a_training(project: Layout) -> None:
    small.settings(
        project, **{"sequence-split": {"protocol": "global-time", "targets": "successive"}}
    )
    with pytest.raises(UserError, match="a decision compares one target of each user"):
        small.retrain(project)
    assert not project.model.exists()


def test_a_model_that_serves_already_is_unchanged(project: Layout) -> None:
    """Other settings, the same weights: nothing is registered twice."""
    small.retrain(project)
    small.settings(project, train={"device": "cpu", "seed": 7})
    result = small.retrain(project)
    assert result.name == "unchanged"
    assert versions(project) == [1]


def test_steps_are_named_in_their_order(project: Layout) -> None:
    steps: list[str] = []

    def step(name: str, work: Any, /) -> Any:
        steps.append(name)
        return work()

    small.retrain(project, Hooks(say=lambda line: None, step=step))
    stages = ["ingest", "validate", "sequence-split", "train", "evaluate"]
    assert steps == ["check", "sync", "intake", "look up", *stages, "promote", "publish"]


def test_settings_changed_while_training_are_not_decided_upon(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited(layout: Layout, name: str, on_line: Any, *, lock: object = None) -> Any:
        run = small.stage(layout, name, on_line)
        if name == "train":
            small.settings(layout, train={"device": "cpu", "seed": 99})
        return run

    with monkeypatch.context() as editing:
        editing.setattr(pipeline, "stage", edited)
        with pytest.raises(UserError, match=r"params\.yaml or recctl's code changed while"):
            small.retrain(project)
    assert decisions(project) == []
    assert small.retrain(project).name == "promoted-v1"


def test_what_was_refused_is_judged_again(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cause may be fixed where no key sees it."""
    small.retrain(project)
    small.drop(project, 10, 11)
    small.settings(project, train={"device": "cpu", "model": "popularity"})

    def spoilt(*arguments: Any, **more: Any) -> str:
        return "the ranks of the evaluate stage are another model's"

    with monkeypatch.context() as broken:
        broken.setattr("recctl.promotion.assess.disagreement", spoilt)
        assert small.retrain(project).name == "refused"
        assert small.retrain(project).name == "refused"
    fixed = small.retrain(project)
    assert (fixed.name, fixed.nothing_new) == ("rejected", False)
    assert versions(project) == [2, 1]
    assert decisions(project) == ["promoted", "refused", "refused", "rejected"]


def test_no_commit_names_data_that_the_remote_lacks(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remote is away for a night, and in the morning somebody takes in more."""
    small.retrain(project)
    config = project.root / ".dvc" / "config"
    calm = config.read_text() + "    remote = far\n['remote \"far\"']\n    url = "
    far = project.root.parent / "far"
    small.drop(project, 10, 11)
    config.write_text(calm + f"{far}\n")

    def step(name: str, work: Any, /) -> Any:
        if name == "publish":
            config.write_text(calm + "http://127.0.0.1:9/\n")
        return work()

    with pytest.raises(MayPass, match="push"):
        small.retrain(project, Hooks(say=lambda line: None, step=step))
    assert small.commits(project) == ["first"]
    config.write_text(calm + f"{far}\n")
    small.drop(project, 11, 12)
    with lock.held(project, "a test") as held:
        collect(project, held, Hooks(say=lambda line: None))
    assert small.commits(project)[0].endswith("(decision 2)")
    digest = small.git(project.root, "show", "HEAD:data.dvc").split("md5: ")[1].split()[0]
    assert (far / "files" / "md5" / digest[:2] / digest[2:]).is_file()
