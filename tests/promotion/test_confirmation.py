"""A model that passed serves once it holds on later events."""

from pathlib import Path

import pandas as pd
import pytest
import tiny_project as tiny

from recctl import journal
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.judge import guardrails
from recctl.promotion.judge.evidence import Use
from recctl.promotion.judge.policy import Confirmation, Online, PromotionParams
from recctl.promotion.verify import verify
from recctl.serve.challenger import Challenger
from recctl.serve.champion import Champion
from recctl.serve.params import Compared

pytestmark = pytest.mark.usefixtures("quick_decisions")

RULES = {"users": 300, "within_days": 5}
POLICY = {**tiny.POLICY, "serving": True, "confirmation": RULES}


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    """Popularity serves, and a Markov chain is provisional."""
    layout = tiny.make(tmp_path / "project", POLICY)
    tiny.set_params(layout.root, promotion={**tiny.POLICY, "baselines": None, "first_model": "any"})
    first = tiny.promote(layout, "popularity")
    assert first.record.verdict == "promoted"  # nothing serves, so there is nothing to wait for
    tiny.set_params(layout.root, promotion=POLICY)
    passed = tiny.promote(layout, "markov")
    assert (passed.record.verdict, passed.exit_code) == ("provisional", 6)
    assert passed.record.sentence.startswith(
        "provisional: it serves once it is not worse on later events of 300 users; NDCG@10"
    )
    return layout


def champion(layout: Layout) -> int:
    return history.open_registry(layout).aliases()["champion"]


def consistent(layout: Layout) -> bool:
    checks = verify(history.open_registry(layout), layout, everything=True)
    return all(check.ok for check in checks)


def test_it_serves_once_it_holds_on_later_events(project: Layout) -> None:
    assert champion(project) == 1
    again = tiny.promote(project)
    assert again.record is None
    assert again.note.startswith("nothing to do: version 2 is provisional: 0 of 300 users have")

    tiny.take_in(project, tiny.log(days=14))
    tiny.train(project, "item-knn")  # the workspace's newer model waits for its turn
    dry = tiny.promote(project, dry_run=True)
    confirmed = tiny.promote(project)
    assert dry.record.verdict == confirmed.record.verdict == "promoted"
    assert (confirmed.record.challenger.version, champion(project)) == (2, 2)
    assert confirmed.record.users == tiny.USERS
    passed = {row.gate for row in confirmed.record.gates if row.outcome == "pass"}
    assert passed >= {"primary", "serving"}
    assert not any(row.name == "better in one" for row in confirmed.record.gates)
    assert consistent(project)

    assert tiny.promote(project).record.challenger.model == "item-knn"


def test_it_is_rejected_where_it_does_not_hold_and_then_the_next_is_judged(project: Layout) -> None:
    """People now take what was popular, and no longer the next item."""
    log = tiny.log(days=12)
    random = tiny.log(days=13)
    random = random[random["timestamp"] >= tiny.FIRST + 12 * tiny.DAY].copy()
    random["item_id"] = [f"i{n % 3}" for n in range(len(random))]
    tiny.set_params(project.root, evaluate={"negatives": 5, "filter_seen": False})
    tiny.take_in(project, pd.concat([log, random], ignore_index=True))
    tiny.train(project, "markov")
    judged = tiny.promote(project)
    assert (judged.record.verdict, judged.record.challenger.version) == ("rejected", 2)
    assert champion(project) == 1
    assert consistent(project)
    assert tiny.promote(project).record.challenger.version != 2


def test_it_lapses_after_the_days(project: Layout) -> None:
    tiny.take_in(project, tiny.log(days=19))
    tiny.train(project, "item-knn")
    assert tiny.promote(project).record.challenger.model == "item-knn"


def test_force_asks_for_no_confirmation_and_ends_the_waiting(project: Layout) -> None:
    forced = tiny.promote(project, "item-knn", force=True, reason="a test")
    assert (forced.record.forced, champion(project)) == (True, 3)
    tiny.take_in(project, tiny.log(days=14))
    tiny.train(project, "markov")
    assert tiny.promote(project).record.challenger.version != 2


def test_a_version_that_was_deleted_is_no_longer_waited_for(project: Layout) -> None:
    history.open_registry(project).client.delete_model_version("tiny", "2")
    tiny.take_in(project, tiny.log(days=14))
    tiny.train(project, "item-knn")
    said: list[str] = []
    assert tiny.promote(project, say=said.append).record.challenger.model == "item-knn"
    assert any("version 2 is provisional and cannot be judged" in line for line in said)


def test_a_policy_that_asks_for_no_gain_is_refused(project: Layout) -> None:
    primary = {"metrics": ["ndcg@10"], "better": False}
    tiny.set_params(project.root, promotion={**tiny.POLICY, "primary": primary})
    with pytest.raises(UserError, match="lets many small losses add up"):
        PromotionParams.judging(project.params)


def show(layout: Layout, users: int, pleased: int, day: int = 20_000) -> None:
    """Lists of versions 1 and 2 in one; so many of the users click the item of version 2."""
    us = day * 24 * 3_600_000_000
    lists = [
        (f"{day}-{user}", us, f"p{day}-{user}", 1, 1, ["a", "b"], 2, [1, 2])
        for user in range(users)
    ]
    journal.exposures(layout).append([lists])
    rows = [("u", "b" if at < pleased else "a", us, None, one[0]) for at, one in enumerate(lists)]
    journal.events(layout).append([rows])


@pytest.mark.parametrize(("pleased", "verdict"), [(420, "promoted"), (80, "rejected")])
def test_it_serves_once_users_are_shown_not_to_prefer_the_champion(
    project: Layout, pleased: int, verdict: str
) -> None:
    tiny.set_params(project.root, promotion={**POLICY, "online": {"margin": 0.1}})
    tiny.take_in(project, tiny.log(days=14))
    tiny.train(project, "item-knn")
    waits = "nothing to do: version 2 is provisional: "
    assert tiny.promote(project).note == (
        f"{waits}no day has ended on which its lists were interleaved with the champion's"
    )
    show(project, 20, 10, day=19_999)
    few = tiny.promote(project).note
    assert few is not None
    assert few.startswith(f"{waits}too few users have preferred it or the champion to tell (")
    show(project, 500, pleased)
    done = tiny.promote(project)
    assert (done.record.verdict, done.record.challenger.version) == (verdict, 2)
    [row] = [row for row in done.record.gates if row.gate == "online"]
    assert row.outcome == ("pass" if verdict == "promoted" else "fail")
    assert row.reason.startswith(
        f"of 520 users who clicked more items of one version {pleased + 10} preferred this one ("
    )
    assert consistent(project)


def test_the_policy_of_use_needs_a_version_that_waits(project: Layout) -> None:
    tiny.set_params(project.root, promotion={**tiny.POLICY, "online": {}})
    with pytest.raises(UserError, match="judges a version that waits for its confirmation"):
        PromotionParams.judging(project.params)


def test_the_service_shows_the_version_that_waits(project: Layout) -> None:
    challenger = Challenger(project, print, Compared(version="provisional"))
    Champion(project, print, challenger.follow).renew()
    assert (challenger.number, challenger.problem) == (2, None)
    tiny.promote(project, "item-knn", force=True, reason="a test")
    Champion(project, print, challenger.follow).renew()
    assert challenger.current is None
    assert challenger.problem == (
        "no version is compared with the champion: none waits for its confirmation"
    )


@pytest.mark.parametrize(
    ("use", "outcome"),
    [
        (None, "refused"),
        (Use(wins=300, ties=5, losses=200), "pass"),
        (Use(wins=200, ties=5, losses=300), "fail"),  # from .30 on
        (Use(wins=4500, ties=0, losses=5500), "fail"),  # above .40, and below .50 all the same
    ],
)
def test_use_by_its_users(use: Use | None, outcome: str) -> None:
    policy = PromotionParams(online=Online(margin=0.1))
    [row] = guardrails.online(use, policy)
    assert (row.gate, row.outcome) == ("online", outcome)
    assert guardrails.online(use, policy.model_copy(update={"confirmation": Confirmation()})) == []
