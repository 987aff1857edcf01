"""The registry over real sqlite; beside each of MLflow's traps, how it does not catch us."""

import dataclasses
import os
import socket
import time
from pathlib import Path

import pytest
from racers import promote
from servers import NAME, add_model, recovered

import ports
from recctl.errors import Gone, MayPass, UserError
from recctl.layout import Layout
from recctl.promotion.ledger import registry as registry_module
from recctl.promotion.ledger import requests, runs
from recctl.promotion.ledger.aliases import serving
from recctl.promotion.ledger.log import canonical, in_force
from recctl.promotion.ledger.registry import Registry
from recctl.tracking import server


def test_an_empty_registry_reads_as_empty(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.entries() == []
    assert registry.shown() == ({}, None)
    assert registry.find("d") is None
    with pytest.raises(Gone, match="'recommender' has no version 1; known: none"):
        registry.version(1)
    registry.drop_alias("champion")
    assert registry.client.search_registered_models() == []


def test_versions_newest_first_and_what_they_carry(registry: Registry, tmp_path: Path) -> None:
    for word in ("a", "b", "c"):
        add_model(registry, tmp_path, word)
    assert [version.number for version in registry.versions()] == [3, 2, 1]
    second = registry.version(2)
    assert second.digest == "digest of b"
    assert second.tags["recctl.model"] == "b"
    assert second.created.endswith("+00:00")
    assert second.run_id is not None
    run = registry.client.get_run(second.run_id)
    assert run.info.status == "FINISHED"
    assert second.source == run.info.artifact_uri + "/model"
    with pytest.raises(Gone, match="no version 9; known: 3, 2, 1"):
        registry.version(9)


def test_more_versions_than_one_page(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "PAGE", 2)
    run_id = registry.decision_run("d")
    for number in range(5):
        add_model(registry, tmp_path, f"m{number}")
        registry.append(canonical({"previous": None, "n": number}), run_id)
    assert [version.number for version in registry.versions()] == [5, 4, 3, 2, 1]
    registry.mark(1, "done")  # MLflow's own order is by the last change
    assert [entry.position for entry in registry.entries()] == [1, 2, 3, 4, 5]
    assert [entry.state for entry in registry.entries()] == ["done"] + ["pending"] * 4


def test_a_first_version_that_is_written_meanwhile_is_seen(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that was empty is asked for again once the model turns out to hold a version."""
    add_model(registry, tmp_path, "a")
    search = registry.client.search_model_versions
    empty = [search("name = 'another'", 1)]
    monkeypatch.setattr(
        registry.client,
        "search_model_versions",
        lambda *asked: empty.pop() if empty else search(*asked),
    )
    assert [version.number for version in registry.versions()] == [1]
    assert not empty


def test_a_model_comes_back_as_it_went_in(registry: Registry, tmp_path: Path) -> None:
    version = add_model(registry, tmp_path, "a")
    (folder,) = [registry.download(version, tmp_path / "copy")]
    assert (folder / "model.json").read_text() == '"a"'
    assert folder.is_relative_to(tmp_path / "copy")


def test_registering_again_gives_the_same_version(registry: Registry, tmp_path: Path) -> None:
    assert add_model(registry, tmp_path, "a") == add_model(registry, tmp_path, "a")
    assert len(registry.versions()) == 1


def test_files_that_are_gone(registry: Registry, tmp_path: Path) -> None:
    version = add_model(registry, tmp_path, "a")
    folder = Path(version.source.removeprefix("file://"))
    (folder / "model.json").unlink()
    with pytest.raises(Gone, match="the files of version 1"):
        registry.download(version, tmp_path / "one")
    folder.rmdir()
    with pytest.raises(Gone, match="the files of version 1"):
        registry.download(version, tmp_path / "two")


@pytest.mark.parametrize("source", ["file:///etc", "http://host/x", "s3://bucket/model"])
def test_an_address_that_leads_elsewhere_is_not_followed(
    registry: Registry, tmp_path: Path, source: str
) -> None:
    version = dataclasses.replace(add_model(registry, tmp_path, "a"), source=source)
    with pytest.raises(Gone, match="not where they were registered"):
        registry.download(version, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_evidence_is_kept_with_the_decision(registry: Registry, tmp_path: Path) -> None:
    run_id = registry.decision_run("promotion", {"recctl.verdict": "rejected"}, {"a@10": 0.5})
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "decision.md").write_text("# no")
    registry.log_files(run_id, tmp_path / "page", "decision")
    run = registry.client.get_run(run_id)
    assert run.data.metrics == {"a_at_10": 0.5}
    assert run.data.tags["recctl.verdict"] == "rejected"
    assert [f.path for f in registry.client.list_artifacts(run_id, "decision")] == [
        "decision/decision.md"
    ]
    body = canonical({"previous": None, "sentence": "ü" * 50_000})
    position = registry.append(body, run_id)
    (entry,) = registry.entries()
    assert (entry.position, entry.body, entry.run_id, entry.altered) == (
        position,
        body,
        run_id,
        False,
    )


# The traps


def test_trap_a_deleted_version_takes_its_alias_along(registry: Registry, tmp_path: Path) -> None:
    promote(registry, tmp_path, "one")
    promote(registry, tmp_path, "two")
    registry.client.delete_model_version(NAME, "2")
    assert "champion" not in registry.aliases()  # the trap: not a word
    assert not serving(registry).agree
    now, said = recovered(registry)
    assert now.aliases["champion"] == 1
    assert "no version 2" in said[0]


def test_trap_an_alias_goes_to_whoever_sets_it_last(registry: Registry, tmp_path: Path) -> None:
    promote(registry, tmp_path, "one")
    promote(registry, tmp_path, "two")
    registry.client.set_registered_model_alias(NAME, "champion", "1")
    assert registry.aliases()["champion"] == 1  # the trap: no condition, no history
    now = serving(registry)
    assert (now.agree, now.says["champion"]) == (False, 2)


def test_trap_numbers_of_deleted_entries_are_not_given_again(registry: Registry) -> None:
    """What the log relies on: were they, a deleted entry could be replaced without a trace."""
    run_id = registry.decision_run("d")
    for number in (1, 2, 3):
        assert registry.append(canonical({"previous": None, "n": number}), run_id) == number
    registry.client.delete_model_version(registry.log_name, "3")
    assert registry.append(canonical({"previous": None}), run_id) == 4


def test_trap_reserved_names(registry: Registry, tmp_path: Path) -> None:
    add_model(registry, tmp_path, "one")
    for reserved in ("latest", "v1"):
        with pytest.raises(UserError, match="reserved"):
            registry.move_alias(reserved, 1)
    for ours in ("champion", "previous", "best"):
        registry.move_alias(ours, 1)
    with pytest.raises(Gone, match="'champion' cannot point to version 7"):
        registry.move_alias("champion", 7)


def test_trap_nan_passes_mlflows_own_validation_and_not_the_log() -> None:
    import mlflow
    from mlflow.models import MetricThreshold
    from mlflow.models.evaluation import EvaluationResult

    def of(ndcg: float) -> EvaluationResult:
        return EvaluationResult(metrics={"ndcg": ndcg}, artifacts={})

    better = {"ndcg": MetricThreshold(min_relative_change=0.01, greater_is_better=True)}
    with pytest.raises(mlflow.exceptions.MlflowException, match="ndcg"):
        mlflow.validate_evaluation_results(better, of(0.19), of(0.2))
    mlflow.validate_evaluation_results(better, of(float("nan")), of(0.2))  # the trap: it passes
    with pytest.raises(ValueError, match="JSON"):
        canonical({"ndcg": float("nan")})


def test_trap_the_folder_for_runs_is_taken_from_the_project_not_from_here(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    version = add_model(registry, tmp_path, "a")
    assert version.source.startswith((tmp_path / "mlartifacts").as_uri())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_two_writers_that_meet_are_tried_again(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    add_model(registry, tmp_path, "a")
    calls: list[int] = []

    def meets(*arguments: str) -> None:
        calls.append(1)
        if len(calls) < 4:
            raise MlflowException("UNIQUE constraint failed", error_code=1)

    monkeypatch.setattr(registry.client, "set_registered_model_alias", meets)
    registry.move_alias("champion", 1)
    assert len(calls) == 4


# A server that is away


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_an_unreachable_registry_is_one_line_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    began = time.monotonic()
    with ports.refusing() as port:
        uri = f"{scheme}://ann:s3cret@127.0.0.1:{port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError, match="Connection refused") as caught:
            Registry.connect(Layout(tmp_path), NAME)
    assert time.monotonic() - began < 30
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_registry_that_falls_silent_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ANSWER", 1)
    monkeypatch.setattr(requests, "SECONDS_OF_PAUSE", 0.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = server._mlflow_client(uri)
        registry = Registry(server.Tracking(client, uri, "e", "1"), NAME)
        for call in (registry.versions, registry.aliases, registry.entries):
            began = time.monotonic()
            with pytest.raises(UserError, match="MLflow at http://127") as caught:
                call()
            assert time.monotonic() - began < 30
            assert "\n" not in str(caught.value)
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in os.environ


def test_the_order_of_the_log_is_its_numbers(registry: Registry) -> None:
    run_id = registry.decision_run("d")
    first = canonical({"previous": None, "n": 1})
    registry.append(first, run_id)
    registry.append(canonical({"previous": None, "n": 2}), run_id)
    assert [entry.content["n"] for entry in in_force(registry.entries())] == [1]


def test_a_state_that_was_not_kept_is_not_taken_for_set(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a server between answers 200 and passes nothing on."""
    run_id = registry.decision_run("d")
    position = registry.append(canonical({"previous": None, "n": 1}), run_id)
    with monkeypatch.context() as patched:
        patched.setattr(registry.client, "set_model_version_tag", lambda *given: None)
        with pytest.raises(MayPass, match=f"took the state of decision {position}"):
            registry.mark(position, "done")
    registry.mark(position, "done")
    assert [entry.state for entry in registry.entries()] == ["done"]
