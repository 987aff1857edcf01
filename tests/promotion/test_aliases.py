"""Decisions carried out over a real sqlite registry; only its failures are simulated."""

from pathlib import Path
from typing import Any

import pytest
import requests
from racers import EndsAt, asking, promote, with_client
from servers import add_model, picture, promotion, recovered

from recctl.errors import UserError
from recctl.promotion.ledger.aliases import Stale, append, follow, serving
from recctl.promotion.ledger.log import Entry, in_force
from recctl.promotion.ledger.recovery import recover
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.ledger.versions import DIGEST, ENTRY

BOTH = [(False, "before"), (True, "after")]


@pytest.fixture
def two(registry: Registry, tmp_path: Path) -> Registry:
    """Version 1 was promoted, then version 2 over it."""
    promote(registry, tmp_path, "one")
    promote(registry, tmp_path, "two")
    return registry


def decide(registry: Registry, content: dict[str, Any]) -> Entry:
    """The decision in force."""
    written = append(registry, content, registry.decision_run("d"))
    assert isinstance(written, Entry)
    return written


def unfit(*numbers: int) -> Any:
    return lambda number: f"version {number} is altered" if number in numbers else None


def test_a_first_and_a_second_champion(two: Registry) -> None:
    now = serving(two)
    assert now.aliases == now.says == {"champion": 2, "previous": 1, "best": 2}
    assert now.agree
    assert not now.pending
    assert [entry.state for entry in now.entries] == ["done", "done"]
    assert two.shown()[1] == (2, now.head)


def test_an_empty_registry_is_at_rest(registry: Registry) -> None:
    now, said = recovered(registry)
    assert (now.entries, now.head, now.says["champion"], said) == ([], None, None, [])
    assert registry.client.search_registered_models() == []


def test_one_that_moves_is_stale_after_another_and_leaves_no_trace(two: Registry) -> None:
    now = serving(two)
    won = decide(two, promotion(now, 1))
    before = picture(two)
    lost = append(two, promotion(now, 2), two.decision_run("d"))
    assert isinstance(lost, Stale)
    assert lost.winner.position == won.position
    assert picture(two) == before


def test_one_that_moves_nothing_goes_upon_what_came_since(two: Registry) -> None:
    now = serving(two)
    decide(two, promotion(now, 1))
    outcome = decide(two, promotion(now, 2, sets=None, verdict="rejected"))
    assert outcome.position == 4
    decide(two, promotion(serving(two), 2))


def test_one_that_moves_survives_others_that_move_nothing(two: Registry) -> None:
    now = serving(two)
    decide(two, promotion(now, 1, sets=None, verdict="rejected"))
    decide(two, promotion(now, 1))


def unanswered(after: bool) -> None:
    """How a request fails, before it is carried out or after."""
    if after:
        raise requests.ReadTimeout("Read timed out")
    raise requests.ConnectionError("no route to https://ann:s3cret@host")


@pytest.mark.parametrize(("after", "when"), BOTH)
def test_a_registry_that_times_out_at_any_request(
    two: Registry, tmp_path: Path, after: bool, when: str
) -> None:
    errors: list[str] = []
    request = 0
    while True:
        request += 1
        old = serving(two).says["champion"]
        client = EndsAt(two.client, request, after, unanswered)
        word = f"{when} {request}"
        try:
            promote(with_client(two, client), tmp_path, word)
        except UserError as error:
            errors.append(str(error))
        new = two.find(f"digest of {word}")
        assert two.aliases()["champion"] in {old, new.number if new else None}
        now, _ = recovered(two)
        assert now.agree
        assert not now.broken
        rest = picture(two)
        assert recovered(two)[1] == []
        assert picture(two) == rest
        if client.left > 0:
            break
    assert request > 10
    line = in_force(two.entries())
    nonces = [entry.content["nonce"] for entry in line]
    assert len(set(nonces)) == len(nonces)  # no decision was taken twice
    assert 0 < len(errors) < request
    assert all("s3cret" not in error and "\n" not in error for error in errors)


def test_an_entry_whose_answer_was_lost_is_found_again(two: Registry) -> None:
    run_id = two.decision_run("d")
    deaf = with_client(two, EndsAt(two.client, 1, True, unanswered))
    outcome = append(deaf, promotion(serving(two), 1), run_id)
    assert outcome.position == 3
    assert len(two.entries()) == 3


def test_a_request_that_arrives_twice_leaves_a_void_copy_marked_so(two: Registry) -> None:
    def twice(*args: Any, **kwargs: Any) -> Any:
        two.client.create_model_version(*args, **kwargs)
        return two.client.create_model_version(*args, **kwargs)

    doubling = asking(two, create_model_version=twice)
    outcome = decide(doubling, promotion(serving(two), 1))
    assert outcome.position == 3
    follow(two, outcome)
    assert [entry.state for entry in two.entries()] == ["done", "done", "done", "undone"]
    assert serving(two).agree
    assert not serving(two).broken


def test_a_replica_that_lags_behind_is_said_and_not_written_to_again(two: Registry) -> None:
    old = two.client.search_model_versions(f"name = '{two.log_name}'")
    lagging = asking(two, search_model_versions=lambda *args: old)
    with pytest.raises(UserError, match="does not show what was written to it"):
        decide(lagging, promotion(serving(two), 1))
    assert len(two.entries()) == 3


def test_the_champion_moves_last_when_all_else_is_in_place(two: Registry) -> None:
    outcome = decide(two, promotion(serving(two), 1))
    moved: list[str] = []

    def move(name: str, alias: str, version: str) -> None:
        moved.append(alias)
        two.client.set_registered_model_alias(name, alias, version)

    follow(asking(two, set_registered_model_alias=move), outcome)
    assert sorted(moved[:-1]) == ["best", "previous"]
    assert moved[-1] == "champion"


def test_a_decision_that_was_not_carried_out_is_finished(two: Registry) -> None:
    decide(two, promotion(serving(two), 1))
    assert two.aliases()["champion"] == 2
    now, said = recovered(two)
    assert now.aliases == {"champion": 1, "previous": 2, "best": 1}
    assert said == ["decision 3 was not carried out to its end: finishing it"]


def test_one_whose_version_is_unfit_is_undone(two: Registry) -> None:
    decide(two, promotion(serving(two), 1))
    said: list[str] = []
    now = recover(two, unfit(1), said.append, serving(two), describe=lambda: {"who": "ann@host"})
    assert now.aliases == {"champion": 2, "previous": 1, "best": 2}
    assert said == ["Decision 3 is undone, version 2 serves: version 1 is altered"]
    undone, recovery = now.entries[2:]
    assert (undone.state, recovery.state) == ("undone", "done")
    assert recovery.content["kind"] == "recovery"
    assert recovery.content["who"] == "ann@host"
    rest = picture(two)
    assert recovered(two)[1] == []
    assert picture(two) == rest


def test_a_store_that_is_away_undoes_nothing(two: Registry) -> None:
    decide(two, promotion(serving(two), 1))
    before = picture(two)

    def away(number: int) -> str | None:
        raise UserError("the store does not answer")

    with pytest.raises(UserError, match="does not answer"):
        recover(two, away, print, serving(two))
    assert picture(two) == before


def test_a_deleted_alias_is_set_again(two: Registry) -> None:
    for alias in ("champion", "previous"):
        two.client.delete_registered_model_alias(two.name, alias)
        now, said = recovered(two)
        assert now.aliases == {"champion": 2, "previous": 1, "best": 2}
        assert said == ["the aliases do not show decision 2: setting them again"]


def test_a_champion_that_was_deleted_gives_way_to_the_one_before(two: Registry) -> None:
    two.client.delete_model_version(two.name, "2")
    assert "champion" not in two.aliases()
    assert not serving(two).agree
    now, said = recovered(two)
    assert now.aliases == {"champion": 1, "previous": None, "best": 1}
    assert now.agree
    assert "'recommender' has no version 2; known: 1" in said[0]
    assert recovered(two)[1] == []


def test_a_former_version_that_was_deleted_is_no_obstacle(two: Registry, tmp_path: Path) -> None:
    two.client.delete_model_version(two.name, "1")
    now, _ = recovered(two)
    assert now.aliases == {"champion": 2, "previous": None, "best": 2}
    promote(two, tmp_path, "three")
    assert two.aliases() == {"champion": 3, "previous": 2, "best": 3}


def test_no_version_that_could_serve_is_said(two: Registry) -> None:
    two.client.delete_registered_model_alias(two.name, "champion")
    before = picture(two)
    with pytest.raises(UserError, match=r"no version can serve: .*altered.*rollback --to"):
        recover(two, unfit(1, 2), print, serving(two))
    assert picture(two) == before


def test_the_first_model_unfit_means_that_none_serves(registry: Registry, tmp_path: Path) -> None:
    number = add_model(registry, tmp_path, "one").number
    decide(registry, promotion(serving(registry), number))
    now = recover(registry, unfit(number), lambda said: None, serving(registry))
    assert now.aliases["champion"] is None
    assert now.agree
    promote(registry, tmp_path, "two")
    assert registry.aliases()["champion"] == 2


@pytest.mark.parametrize("pending", [False, True])
def test_a_champion_moved_by_hand_stays_and_is_said(
    two: Registry, tmp_path: Path, pending: bool
) -> None:
    third = add_model(two, tmp_path, "three").number
    if pending:
        decide(two, promotion(serving(two), 1))
    two.client.set_registered_model_alias(two.name, "champion", str(third))
    before = picture(two)
    with pytest.raises(UserError, match=r"points to version 3, but .* --to 3 --reason") as caught:
        recovered(two)
    assert "\n" not in str(caught.value)
    assert picture(two) == before
    # taken under the log: a decision whose `saw` is what the alias really is
    now = serving(two)
    outcome = decide(two, promotion(now, third, kind="rollback"))
    follow(two, outcome)
    assert recovered(two)[0].aliases["champion"] == third
    assert {entry.state for entry in two.entries()} <= {"done", "undone"}


def test_a_champion_moved_by_hand_without_any_log_is_said(
    registry: Registry, tmp_path: Path
) -> None:
    add_model(registry, tmp_path, "one")
    registry.client.set_registered_model_alias(registry.name, "champion", "1")
    with pytest.raises(UserError, match="the log says that none serves yet"):
        recovered(registry)


def test_a_writer_held_up_between_look_and_move_follows_the_newer_decision(
    two: Registry, tmp_path: Path
) -> None:
    """MLflow's last writer wins: the older decision's alias lands over the newer one's."""
    slow = decide(two, promotion(serving(two), 1))
    overtaken: list[int] = []

    def move(name: str, alias: str, version: str) -> None:
        held_up = alias == "champion" and not overtaken
        if held_up:
            overtaken.append(1)
            recovered(two)  # another process finishes ours ...
            promote(two, tmp_path, "three")  # ... and decides again
            assert two.aliases()["champion"] == 3
        two.client.set_registered_model_alias(name, alias, version)
        assert not held_up or two.aliases()["champion"] == 1  # the trap

    shown = follow(asking(two, set_registered_model_alias=move), slow)
    assert shown.position == slow.position + 1
    assert two.aliases() == {"champion": 3, "previous": 1, "best": 3}
    assert recovered(two)[1] == []


def test_a_damaged_log_stops_changes_until_it_is_acknowledged(two: Registry) -> None:
    two.client.set_model_version_tag(two.log_name, "1", ENTRY, '{"previous":null,"sets":null}')
    reported = "decision 1 has been altered since it was written"
    with pytest.raises(UserError, match=rf"damaged: {reported}.*--force"):
        recovered(two)
    now = recover(two, unfit(), print, serving(two), force=True)
    assert now.broken == [reported]
    assert now.aliases["champion"] == 2
    outcome = decide(two, promotion(now, 1, forced=True, acknowledges=now.broken))
    follow(two, outcome)
    assert recovered(two)[0].broken == []


@pytest.mark.parametrize("what", ["body", "digest", "entry", "tail", "log"])
def test_tampering_never_moves_the_champion(two: Registry, what: str) -> None:
    if what == "body":
        two.client.set_model_version_tag(two.log_name, "2", ENTRY, "half a bo")
    elif what == "digest":
        two.client.set_model_version_tag(two.log_name, "2", DIGEST, "0" * 64)
    elif what == "log":
        two.client.delete_registered_model(two.log_name)
    else:
        two.client.delete_model_version(two.log_name, "1" if what == "entry" else "2")
    with pytest.raises(UserError, match="the decision log of 'recommender' is damaged"):
        recovered(two)
    assert two.aliases() == {"champion": 2, "previous": 1, "best": 2}


def test_what_was_rolled_back_does_not_come_back_when_its_successor_is_deleted(
    two: Registry, tmp_path: Path
) -> None:
    promote(two, tmp_path, "three")
    back = {**promotion(serving(two), 2), "kind": "rollback"}
    back["sets"] = {"champion": 2, "previous": 1, "best": 2}
    follow(two, decide(two, back))
    two.client.delete_model_version(two.name, "2")
    now, _ = recovered(two)
    assert now.aliases == {"champion": 1, "previous": None, "best": None}


def test_where_nothing_lies_below_a_rollback_a_person_is_asked(two: Registry) -> None:
    back = {**promotion(serving(two), 1), "kind": "rollback"}
    back["sets"] = {"champion": 1, "previous": None, "best": 1}
    follow(two, decide(two, back))
    two.client.delete_model_version(two.name, "1")
    with pytest.raises(UserError, match="no version can serve"):
        recovered(two)
    assert "champion" not in two.aliases()


def test_a_decision_too_long_for_the_registry_is_said(two: Registry) -> None:
    before = picture(two)
    with pytest.raises(UserError, match="give a shorter --reason"):
        decide(two, {**promotion(serving(two), 1), "reason": "x" * 100_000})
    assert picture(two) == before
