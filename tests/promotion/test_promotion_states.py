"""Whatever is done to a registry, in whatever order: the champion is sound, the log explains it.

A small world of versions whose quality is known. What promotes, rolls back and recovers is recctl's
own code over a real registry; judging is a comparison of two numbers, for it is tested elsewhere.
"""

import random
from pathlib import Path

import pytest
import tiny_project as tiny

from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history, write_pages
from recctl.promotion.ledger import aliases, log
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.trial import contenders
from recctl.promotion.verify import verify

SMOOTHINGS = (1e9, 1e4, 1e3, 1e2, 1e1)
"""From a Markov chain that is all but popularity to a good one."""
STEPS = 14


class Killed(BaseException):
    """What SIGKILL leaves: nothing after the request is done."""


@pytest.fixture(autouse=True)
def _quick(quick_decisions: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_pages, "pages", lambda *given: None)


class World:
    """A project, what is done to it, and what must hold after each step."""

    def __init__(self, layout: Layout, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.layout, self.chance, self.monkeypatch = layout, random.Random(seed), monkeypatch
        self.registry: Registry = history.open_registry(layout)
        self.notes: list[str] = []
        self.had_one = False
        self.taken_away: set[int] = set()
        """Rolled back, and not forced since: nothing but a person brings one of them back."""

    def step(self) -> None:
        actions = [self.judge] * 4 + [self.force, self.back, self.back_to, self.lose_alias]
        action = self.chance.choice([*actions, self.lose_version, self.killed, self.killed])
        before = self.registry.aliases().get("champion")
        self.notes.append(action.__name__)
        try:
            action()
        except (UserError, Killed) as error:
            self.notes.append(f"  {error!r:.300}")
        self.notes.append(f"  {before} -> {self.registry.aliases()}")

    def train(self) -> None:
        tiny.train_markov(self.layout, self.chance.choice(SMOOTHINGS))

    def judge(self) -> None:
        self.train()
        self._promote()

    def force(self) -> None:
        self.train()
        self._promote(force=True, reason="test")
        self.taken_away.discard(self.registry.aliases().get("champion", 0))

    def back(self, to: int | None = None) -> None:
        left = self.registry.aliases().get("champion")
        tiny.rollback(self.layout, to, say=self.notes.append)
        now = self.registry.aliases()["champion"]
        if left is not None and left != now:
            self.taken_away.add(left)
        self.taken_away.discard(now)

    def back_to(self) -> None:
        versions = self.registry.versions()
        if versions:
            self.back(self.chance.choice(versions).number)

    def lose_alias(self) -> None:
        alias = self.chance.choice(aliases.ALIASES)
        self.registry.drop_alias(alias)

    def lose_version(self) -> None:
        versions = self.registry.versions()
        if len(versions) > 2:
            number = self.chance.choice(versions).number
            self.notes.append(f"  version {number}")
            self.registry.client.delete_model_version(self.registry.name, str(number))

    def killed(self) -> None:
        """A promotion that ends before one of its requests that write."""
        self.train()
        left = self.chance.randrange(10)
        writes = ("_create", "_write")
        with self.monkeypatch.context() as patched:
            for name in writes:
                patched.setattr(Registry, name, self._ending(getattr(Registry, name)))
            self.left = left
            self._promote()

    def _ending(self, method: object) -> object:
        def request(*given: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return method(*given)  # type: ignore[operator]

        return request

    def _promote(self, **more: object) -> None:
        done = tiny.promote(
            self.layout,
            say=lambda line: "ranked" in line or self.notes.append(f"  {line}"),
            **more,
        )
        self.notes.append(f"  {done.note or (done.record and done.record.sentence):.90}")

    def check(self) -> None:
        """After the next command that was carried out, log and aliases agree and all is sound."""
        with_champion = self.registry.aliases().get("champion")
        if with_champion is not None:  # in the midst of it all: sound, or none
            line = log.in_force(self.registry.entries())
            contenders.registered(self.registry, self.layout, with_champion, line)
        try:
            self._promote()
        except UserError as error:
            if "no version can serve" not in str(error):
                raise
            return
        state = aliases.serving(self.registry)
        assert state.agree
        assert not state.broken
        champion = state.aliases["champion"]
        assert champion not in self.taken_away, "a rolled-back version came back unasked"
        wrong = [one for one in verify(self.registry, self.layout) if not one.ok]
        assert wrong == []


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.faults) for seed in (1, 2))]
)
def test_any_sequence_leaves_a_sound_champion_that_the_log_explains(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = tiny.make(tmp_path / "project")
    tiny.train_markov(layout, SMOOTHINGS[1])
    world = World(layout, seed, monkeypatch)
    world._promote()
    try:
        for _ in range(STEPS):
            world.step()
            world.check()
    except BaseException:
        print("\n".join(world.notes))
        raise


def test_a_digest_that_is_a_path_reaches_no_folder(tmp_path: Path) -> None:
    """Downloaded versions lie in folders named by their digest; a tag can hold anything."""
    layout = tiny.make(tmp_path / "project")
    tiny.train_markov(layout, SMOOTHINGS[1])
    tiny.promote(layout)
    (layout.root / "own").mkdir()
    (layout.root / "own" / "work.txt").write_text("mine")
    registry = history.open_registry(layout)
    registry.client.set_model_version_tag(
        registry.name, "1", "recctl.content_digest", "/../../../own"
    )
    wrong = [one.detail for one in verify(registry, layout) if not one.ok]
    assert any("is not the model that was decided upon" in one for one in wrong)
    assert (layout.root / "own" / "work.txt").read_text() == "mine"


def test_only_a_comparison_offers_the_workspace(tmp_path: Path) -> None:
    layout = tiny.make(tmp_path / "project")
    registry = history.open_registry(layout)
    with pytest.raises(UserError, match=r"known: a version's number$"):
        history.number(registry, history.WORKSPACE)
    with pytest.raises(UserError, match=r"known: a version's number, workspace$"):
        history.number(registry, "workspce", history.WORKSPACE)


def test_no_model_has_the_name_of_a_log(tmp_path: Path) -> None:
    layout = tiny.make(tmp_path / "project")
    tiny.set_params(layout.root, promotion={**tiny.POLICY, "registered_model": "tiny-decisions"})
    with pytest.raises(UserError, match="those of decision logs"):
        history.open_registry(layout)


def test_a_champion_from_before_recctl_has_a_way_out(tmp_path: Path) -> None:
    layout = tiny.make(tmp_path / "project")
    tiny.train_markov(layout, SMOOTHINGS[1])
    client = history.open_registry(layout).client
    client.create_registered_model("tiny")
    client.create_model_version("tiny", str(tmp_path / "model"), None)
    client.set_registered_model_alias("tiny", "champion", "1")
    with pytest.raises(UserError, match="take the alias away in MLflow"):
        tiny.promote(layout)
    client.delete_registered_model_alias("tiny", "champion")
    first = tiny.promote(layout)
    assert first.record.sets.content() == {"champion": 2, "previous": None, "best": 2}
