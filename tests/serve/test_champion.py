"""The service follows the decision log: promotions, rollbacks, and nothing that is not sound."""

import gc
import threading
from pathlib import Path

import pytest
import tiny_project as tiny
from servers import tracked_at

import ports
from recctl.layout import Layout
from recctl.promotion import history
from recctl.serve.champion import Champion, Loaded

pytestmark = pytest.mark.usefixtures("quick_decisions")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    return tiny.make(tmp_path / "project")


def serves(champion: Champion) -> tuple[int, int] | None:
    """Version and decision, once the registry was read."""
    champion.renew()
    now = champion.current
    return None if now is None else (now.version, now.decision)


def tamper(project: Layout, folder: str) -> None:
    """Change the last byte of the newest weights below a folder."""
    found = (project.root / folder).rglob("model.safetensors")
    weights = max(found, key=lambda path: path.stat().st_mtime)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def test_it_follows_promotions_and_rollbacks(project: Layout) -> None:
    said: list[str] = []
    champion = Champion(project, said.append)
    assert serves(champion) is None
    assert champion.problem == "no version serves yet: let one be judged, 'recctl promote'"

    tiny.promote(project, 1e6)
    assert serves(champion) == (1, 1)
    assert champion.problem is None
    first = champion.current
    assert serves(champion) == (1, 1)
    assert champion.current is first

    tiny.promote(project, 1e9)  # rejected
    assert serves(champion) == (1, 1)
    tiny.promote(project, 10.0)
    assert serves(champion) == (3, 3)
    tiny.rollback(project)
    assert serves(champion) == (1, 4)
    assert [line for line in said if "answers" in line] == [
        "version 1 answers, by decision 1",
        "version 3 answers, by decision 3",
        "version 1 answers, by decision 4",
    ]


def test_a_version_that_is_not_sound_replaces_none_that_works(project: Layout) -> None:
    champion = Champion(project, print)
    tiny.promote(project, 1e6)
    assert serves(champion) == (1, 1)
    tiny.promote(project, 10.0)
    tamper(project, "mlartifacts")
    assert serves(champion) == (1, 1)
    assert champion.problem is not None
    assert champion.problem.startswith("version 2 is not sound: ")


def test_the_log_is_followed_and_not_an_alias_moved_by_hand(project: Layout) -> None:
    champion = Champion(project, print)
    tiny.promote(project, 1e6)
    tiny.promote(project, 10.0)
    assert serves(champion) == (2, 2)
    history.open_registry(project).move_alias("champion", 1)
    assert serves(champion) == (2, 2)
    assert champion.problem is not None
    assert "differs from the log" in champion.problem


def test_without_the_registry_it_goes_on_and_starts_from_its_sound_copy(project: Layout) -> None:
    tiny.promote(project, 1e6)
    champion = Champion(project, print)
    assert serves(champion) == (1, 1)
    with tracked_at(f"http://127.0.0.1:{ports.free()}"):
        assert serves(champion) == (1, 1)
        assert champion.problem is not None
        again = Champion(project, print)
        assert serves(again) == (1, 1)
        assert "MLflow" in str(again.problem)
        assert champion.current is not None
        assert again.current is not None
        assert again.current.since == champion.current.since
        tamper(project, ".recctl/versions")
        assert serves(Champion(project, print)) is None


def test_the_histories_are_those_of_the_newest_split(project: Layout) -> None:
    champion = Champion(project, print)
    champion.renew()
    assert champion.users is not None
    user = str(tiny.log()["user_id"].iloc[0])
    before = champion.users.history(user)
    tiny.take_in(project, tiny.log(days=13))
    champion.renew()
    after = champion.users.history(user)
    assert before is not None
    assert after is not None
    assert len(after.item_ids) > len(before.item_ids)
    for path in project.sequences.glob("*"):  # as DVC does before the stage runs
        path.unlink()
    champion.renew()
    assert champion.users.history(user) == after


def test_an_unexpected_error_ends_one_read_only(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    right, said = history.reading, []

    def fails_once(layout: Layout) -> object:
        monkeypatch.setattr(history, "reading", right)
        raise ZeroDivisionError

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 2:
            stop.set()

    monkeypatch.setattr(history, "reading", fails_once)
    Champion(project, say).follow(stop, 0.01)
    assert said[0] == "the registry was not read: ZeroDivisionError()"
    assert said[1].startswith("no version serves yet")


def test_what_lives_as_long_as_a_version_is_not_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, calls, before_reads = threading.Event(), [], []
    champion = Champion(Layout(tmp_path), print)

    def renew() -> None:
        """The second read finds a version."""
        before_reads.append(list(calls))
        if len(before_reads) == 2:
            champion.current = Loaded(1, 1, "", None)  # type: ignore[arg-type]
        if len(before_reads) == 4:
            stop.set()

    monkeypatch.setattr(champion, "renew", renew)
    # not the real ones: other threads of this process free what they have frozen
    monkeypatch.setattr(gc, "collect", lambda: calls.append("collect"))
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    champion.follow(stop, 0.01)
    assert before_reads == [[], [], ["collect", "freeze"], ["collect", "freeze"]]
