"""The whole of a promotion, in a tiny project with a real registry."""

import shutil
from pathlib import Path

import pytest
import tiny_project as tiny

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger import aliases
from recctl.promotion.trial import archive
from recctl.promotion.verify import verify

pytestmark = pytest.mark.usefixtures("quick_decisions")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    return tiny.make(tmp_path / "project")


def aliases_of(project: Layout) -> dict[str, int]:
    return history.open_registry(project).aliases()


def wrong(project: Layout) -> list[str]:
    registry = history.open_registry(project)
    checks = verify(registry, project, everything=True)
    return [check.detail for check in checks if not check.ok]


def test_the_whole_story(project: Layout) -> None:
    first = tiny.promote(project, "item-knn")
    assert (first.record.verdict, first.exit_code) == ("promoted", 0)
    assert aliases_of(project) == {"champion": 1, "best": 1}

    worse = tiny.promote(project, 1e9)
    assert (worse.record.verdict, worse.exit_code) == ("rejected", 3)
    assert aliases_of(project)["champion"] == 1
    assert history.open_registry(project).shown()[1] == (2, worse.entry.claimed)

    again = tiny.promote(project, "item-knn")
    assert (again.record, again.exit_code) == (None, 0)
    assert "version 1, which serves already" in again.note

    better = tiny.promote(project, "markov")
    assert (better.record.verdict, better.exit_code) == ("promoted", 0)
    assert aliases_of(project) == {"champion": 3, "previous": 1, "best": 3}

    rolled = tiny.rollback(project)
    assert (rolled.record.kind, rolled.exit_code) == ("rollback", 0)
    assert aliases_of(project) == {"champion": 1, "best": 1}
    kinds = [row.body.kind for row in history.decisions(history.open_registry(project))]
    assert kinds == ["promotion", "promotion", "promotion", "rollback"]
    registry = history.open_registry(project)
    reported = {
        one.number: registry.client.get_model_version("tiny", str(one.number))
        for one in registry.versions()
    }
    assert {number: one.tags["recctl.decision"] for number, one in reported.items()} == {
        1: "1",
        2: "2",
        3: "3",
    }
    figures = rolled.record.means, better.record.means.full["challenger"]
    metrics = registry.client.get_run(reported[3].run_id).data.metrics
    assert figures == (None, {"ndcg@10": metrics["ndcg_at_10"], "hr@10": metrics["hr_at_10"]})
    for words in ("markov trained on data", "[Decision 3](#/models/tiny-decisions/versions/3)"):
        assert words in reported[3].description
    assert wrong(project) == []


def test_a_dry_run_decides_the_same_and_changes_nothing(project: Layout) -> None:
    tiny.train(project, "markov")
    registry = history.open_registry(project)
    before = registry.aliases(), registry.versions(), registry.entries()
    dry = tiny.promote(project, dry_run=True)
    assert (dry.record.verdict, dry.entry) == ("promoted", None)
    assert (registry.aliases(), registry.versions(), registry.entries()) == before
    real = tiny.promote(project)
    assert real.record.gates == dry.record.gates


def test_the_same_content_is_registered_once(project: Layout) -> None:
    tiny.promote(project, "markov")
    for _ in range(2):
        tiny.promote(project, 1e9)
    numbers = [version.number for version in history.open_registry(project).versions()]
    assert numbers == [2, 1]


def test_declining_changes_nothing(project: Layout) -> None:
    tiny.train(project, "markov")
    with pytest.raises(UserError, match="declined"):
        tiny.promote(project, confirm=lambda body: False)
    registry = history.open_registry(project)
    assert (registry.versions(), registry.entries()) == ([], [])


def test_force_needs_a_reason_and_is_recorded(project: Layout) -> None:
    tiny.promote(project, "markov")
    tiny.train_markov(project, smoothing=1e9)
    with pytest.raises(UserError, match="--force needs a reason"):
        tiny.promote(project, force=True)
    forced = tiny.promote(project, force=True, reason="the other one breaks the page")
    assert forced.exit_code == 0
    assert (forced.record.verdict, forced.record.forced) == ("rejected", True)
    assert forced.record.reason == "the other one breaks the page"
    assert aliases_of(project) == {"champion": 2, "previous": 1, "best": 1}
    assert wrong(project) == []


def test_the_ratchet_holds_against_the_best_and_not_the_last(project: Layout) -> None:
    """After a forced step down the next one must still be as good as the best ever promoted."""
    policy = {**tiny.POLICY, "ratchet": {"margin": 0.01}}
    tiny.set_params(project.root, promotion=policy)
    tiny.promote(project, "markov")
    tiny.promote(project, 1e9, force=True, reason="test")
    between = tiny.promote(project, "item-knn")
    assert between.record.verdict == "rejected"
    failed = {gate.gate for gate in between.record.gates if gate.outcome == "fail"}
    assert failed == {"ratchet"}


def test_tomorrows_data_moves_every_target_and_leaks_nothing(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    tiny.take_in(project, tiny.log(days=14))
    later = tiny.promote(project, "markov")
    assert later.record.verdict == "promoted"
    leaks = [gate for gate in later.record.gates if gate.gate == "leak"]
    assert leaks
    assert {gate.outcome for gate in leaks} == {"pass"}


def test_a_champion_trained_on_todays_targets_is_refused(project: Layout) -> None:
    """The log shrinks: what is today's last interaction was training before."""
    tiny.take_in(project, tiny.log(days=14))
    tiny.promote(project, "item-knn")
    tiny.take_in(project, tiny.log(days=12))
    refused = tiny.promote(project, "markov")
    assert (refused.record.verdict, refused.exit_code) == ("refused", 2)
    assert aliases_of(project)["champion"] == 1


def test_a_tampered_artifact_refuses_and_is_reported(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    (weights,) = (project.root / "mlartifacts").glob("*/artifacts/model/**/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    refused = tiny.promote(project, "markov")
    assert (refused.record.verdict, refused.exit_code) == ("refused", 2)
    assert any("version 1 is not sound" in detail for detail in wrong(project))
    assert aliases_of(project)["champion"] == 1


def test_a_deleted_alias_is_set_again(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    registry = history.open_registry(project)
    registry.drop_alias("champion")
    assert wrong(project) != []
    tiny.train_markov(project, smoothing=1e9)
    said: list[str] = []
    tiny.promote(project, say=said.append)
    assert aliases_of(project)["champion"] == 1
    assert any("setting them again" in line for line in said)
    assert wrong(project) == []


def test_a_champion_deleted_behind_our_back(project: Layout) -> None:
    """MLflow drops the alias with the version; the champion before it serves again."""
    tiny.promote(project, "item-knn")
    tiny.promote(project, "markov")
    registry = history.open_registry(project)
    registry.client.delete_model_version(registry.name, "2")
    assert any("version 2, the champion, was deleted" in detail for detail in wrong(project))
    outcome = tiny.promote(project, 1e9)
    assert outcome.record.verdict == "rejected"
    assert aliases_of(project)["champion"] == 1
    kinds = [row.body.kind for row in history.decisions(registry)]
    assert "recovery" in kinds
    assert wrong(project) == []


def test_a_tampered_log_refuses_until_it_is_accepted(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    tiny.promote(project, 1e9)
    registry = history.open_registry(project)
    body = registry.entries()[1].body.replace("rejected", "promoted")
    registry.client.set_model_version_tag(registry.log_name, "2", "recctl.entry", body)
    assert any("decision 2 has been altered" in detail for detail in wrong(project))
    tiny.train(project, "markov")
    with pytest.raises(UserError, match="the decision log of 'tiny' is damaged"):
        tiny.promote(project)
    assert aliases_of(project)["champion"] == 1
    forced = tiny.promote(project, force=True, reason="known: a test")
    assert forced.record.acknowledges == ["decision 2 has been altered since it was written"]
    assert aliases_of(project)["champion"] == 3


def test_a_number_given_to_another_model(project: Layout) -> None:
    """A registered model deleted as a whole is numbered from 1 again."""
    tiny.promote(project, "item-knn")
    registry = history.open_registry(project)
    registry.client.delete_registered_model(registry.name)
    assert tiny.promote(project, "markov").record.verdict == "promoted"
    assert aliases_of(project)["champion"] == 1
    assert wrong(project) == []


def test_a_champion_exchanged_for_another_with_tags_and_all(project: Layout) -> None:
    """What a version is by its own tags is not enough: the decision says what it was."""
    tiny.promote(project, "markov")
    tiny.promote(project, "item-knn")
    registry = history.open_registry(project)
    champion, other = registry.version(1), registry.version(2)
    for tag in ("recctl.content_digest", "recctl.files"):
        registry.client.set_model_version_tag("tiny", "1", tag, other.tags[tag])
    there, here = (Path(one.source.removeprefix("file://")) for one in (champion, other))
    shutil.rmtree(there)
    shutil.copytree(here, there)
    assert "version 1 is not the model that was decided upon" in wrong(project)
    refused = tiny.promote(project, 1e3)
    assert refused.record.verdict == "refused"
    assert "not the model that was decided upon" in refused.record.sentence


def test_a_registered_version_whose_files_are_gone_never_serves(project: Layout) -> None:
    """The same model again, registered when it was rejected; its files are gone since."""
    tiny.promote(project, "item-knn")
    primary = {"metrics": ["ndcg@10"], "min_gain": 0.9}
    tiny.set_params(project.root, promotion={**tiny.POLICY, "primary": primary})
    assert tiny.promote(project, "markov").record.verdict == "rejected"
    registry = history.open_registry(project)
    shutil.rmtree(registry.version(2).source.removeprefix("file://"))
    tiny.set_params(project.root, promotion=tiny.POLICY)
    with pytest.raises(UserError, match=r"registered as version 2, and .*delete version 2"):
        tiny.promote(project)
    assert aliases_of(project)["champion"] == 1
    registry.client.delete_model_version("tiny", "2")
    assert tiny.promote(project).record.verdict == "promoted"
    assert aliases_of(project)["champion"] == 3
    assert wrong(project) == []


def test_a_damaged_champion_is_reported_where_there_is_nothing_to_do(
    project: Layout,
) -> None:
    tiny.promote(project, "markov")
    shutil.rmtree(history.open_registry(project).version(1).source.removeprefix("file://"))
    with pytest.raises(UserError, match="version 1"):
        tiny.promote(project)


def test_a_rollback_to_what_is_gone_is_refused(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    tiny.promote(project, "markov")
    registry = history.open_registry(project)
    shutil.rmtree(registry.version(1).source.removeprefix("file://"))
    with pytest.raises(UserError, match="version 1"):
        tiny.rollback(project)
    assert aliases_of(project)["champion"] == 2


def test_a_best_version_that_leaks_does_not_block_for_ever(project: Layout) -> None:
    """The log shrank: force once, and from then on the champion is the measure."""
    tiny.set_params(project.root, promotion={**tiny.POLICY, "ratchet": {"margin": 0.01}})
    tiny.take_in(project, tiny.log(days=14))
    tiny.promote(project, "item-knn")
    tiny.take_in(project, tiny.log(days=12))
    assert tiny.promote(project, "item-knn").record.verdict == "refused"
    tiny.promote(project, force=True, reason="the log was cut")
    assert "best" not in aliases_of(project)
    assert tiny.promote(project, "markov").record.verdict == "promoted"
    assert aliases_of(project)["best"] == aliases_of(project)["champion"]
    assert wrong(project) == []


def test_a_best_version_that_was_deleted_does_not_block_for_ever(project: Layout) -> None:
    tiny.set_params(project.root, promotion={**tiny.POLICY, "ratchet": {"margin": 0.01}})
    tiny.promote(project, "markov")
    tiny.promote(project, 1e9, force=True, reason="test")
    registry = history.open_registry(project)
    registry.client.delete_model_version("tiny", "1")
    assert tiny.promote(project, "item-knn").record.verdict == "promoted"
    assert wrong(project) == []


def test_a_dry_run_stops_where_the_real_one_would(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    tiny.promote(project, 1e9)
    registry = history.open_registry(project)
    assert tiny.promote(project, dry_run=True, force=True, reason="test").exit_code == 0
    registry.move_alias("champion", 2)
    tiny.train(project, "markov")
    with pytest.raises(UserError, match="somebody moved it by hand"):
        tiny.promote(project, dry_run=True)
    registry.move_alias("champion", 1)
    registry.client.set_model_version_tag(registry.log_name, "1", "recctl.entry", "{}")
    with pytest.raises(UserError, match="the decision log of 'tiny' is damaged"):
        tiny.promote(project, dry_run=True)


def test_a_damaged_log_can_be_accepted_without_a_change(project: Layout) -> None:
    tiny.promote(project, "markov")
    registry = history.open_registry(project)
    body = registry.entries()[0].body.replace("root", "toor").replace("promoted:", "Promoted:")
    registry.client.set_model_version_tag(registry.log_name, "1", "recctl.entry", body)
    assert wrong(project) != []
    accepted = tiny.promote(project, force=True, reason="it was me")
    assert accepted.exit_code == 0
    assert accepted.record.acknowledges == ["decision 1 has been altered since it was written"]
    assert aliases_of(project)["champion"] == 1
    assert "nothing to do" in tiny.promote(project).note


def test_an_alias_moved_by_hand_and_kept(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    tiny.promote(project, "markov")
    tiny.promote(project, 1e9)
    history.open_registry(project).move_alias("champion", 3)
    with pytest.raises(UserError, match="version 3 never served"):
        tiny.rollback(project, to=3)
    kept = tiny.rollback(project, to=3, force=True)
    assert "moved by hand, is kept" in kept.record.sentence
    assert aliases_of(project)["previous"] == 2
    tiny.rollback(project)
    assert aliases_of(project)["champion"] == 2
    assert wrong(project) == []


def test_another_evaluation_than_the_workspaces_is_refused(project: Layout) -> None:
    """ranks.parquet of another model, put in the place of the right one."""
    tiny.train(project, "popularity")
    other = (project.evaluation / "ranks.parquet").read_bytes()
    tiny.train(project, "markov")
    (project.evaluation / "ranks.parquet").write_bytes(other)
    refused = tiny.promote(project)
    assert refused.record.verdict == "refused"
    assert "not of the same model" in refused.record.sentence


def test_a_second_rollback_goes_further_back(project: Layout) -> None:
    for smoothing in (1e9, 1e3, 1e1):
        assert tiny.promote(project, smoothing, force=True, reason="test").exit_code == 0
    assert aliases_of(project)["champion"] == 3
    tiny.rollback(project)
    assert aliases_of(project)["champion"] == 2
    tiny.rollback(project)
    assert aliases_of(project)["champion"] == 1
    with pytest.raises(UserError, match="no champion of 'tiny' served before this one"):
        tiny.rollback(project)
    tiny.rollback(project, to=3)
    assert aliases_of(project)["champion"] == 3
    assert aliases_of(project)["previous"] == 1
    assert wrong(project) == []


def test_what_was_rolled_back_does_not_come_back(project: Layout) -> None:
    """The nightly run finds the same model in DVC's cache and would promote it again."""
    tiny.promote(project, "item-knn")
    tiny.promote(project, "markov")
    tiny.rollback(project)
    again = tiny.promote(project)
    assert again.record.verdict == "refused"
    assert "version 2, which decision 3 took out of service (test)" in again.record.sentence
    assert aliases_of(project)["champion"] == 1
    forced = tiny.promote(project, force=True, reason="the page was at fault")
    assert (forced.exit_code, aliases_of(project)["champion"]) == (0, 2)
    tiny.rollback(project)
    assert tiny.promote(project).record.verdict == "refused"
    assert wrong(project) == []


def test_a_champion_of_another_task(project: Layout) -> None:
    tiny.promote(project, "markov")
    other = tiny.log()
    other["item_id"] = "x" + other["item_id"]
    tiny.take_in(project, other)
    refused = tiny.promote(project, "markov")
    assert refused.record.verdict == "refused"
    assert "knows no item of today's catalogue" in refused.record.sentence


def test_a_champion_moved_by_hand_stops_everything_but_a_rollback(project: Layout) -> None:
    tiny.promote(project, "item-knn")
    tiny.promote(project, 1e9)
    registry = history.open_registry(project)
    registry.move_alias("champion", 2)
    tiny.train(project, "markov")
    with pytest.raises(UserError, match="somebody moved it by hand"):
        tiny.promote(project)
    tiny.rollback(project, to=1)
    assert aliases_of(project)["champion"] == 1
    assert aliases.serving(registry).agree
    assert wrong(project) == []


def test_a_decision_by_other_rules_is_not_called_wrong(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """recctl may come to judge otherwise; the evidence is still checked."""
    tiny.promote(project, "item-knn")
    body = history.open_registry(project).entries()[0].content
    assert body["rules"] == archive.RULES
    monkeypatch.setattr(archive, "RULES", archive.RULES + 1)
    monkeypatch.setattr(archive, "decide", None)
    assert wrong(project) == []
    (table,) = (project.root / "mlartifacts").glob("*/artifacts/decision/evidence.parquet")
    table.write_bytes(table.read_bytes() + b"x")
    assert any("evidence was altered" in detail for detail in wrong(project))
