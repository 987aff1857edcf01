"""History replayed: what is taken in when, what is touched, going on after a kill."""

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import small_project as small

from recctl import pipeline
from recctl.data import versions
from recctl.errors import MayPass, UserError
from recctl.files import write_json
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.ledger.registry import Registry
from recctl.retraining import backfill as backfilling
from recctl.retraining import curve
from recctl.retraining.backfill import Day, backfill
from recctl.retraining.run import Hooks
from recctl.retraining.workspace import Replay

pytestmark = pytest.mark.usefixtures("quick_decisions", "quick_dvc", "quick_stages")

FIRST = date(2020, 9, 13) + timedelta(days=small.DAYS - 2)
"""The day of the log's last but two; its first is 2020-09-13, from the afternoon on."""
LAST = FIRST + timedelta(days=1)
QUIET = Hooks(say=lambda line: None)


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    layout = small.make(tmp_path / "project")
    small.STAGES["ingest"](layout)
    return layout


def workspace_of(project: Layout, last: date) -> Path:
    """Where the days from FIRST to `last` are replayed."""
    return project.state / "backfill" / f"{FIRST:%Y%m%d}-{last:%Y%m%d}"


def registry_of(project: Layout, last: date) -> Registry:
    params = PromotionParams.load(workspace_of(project, last) / "params.yaml")
    return Registry.connect(project, params.registered_model)


def held(workspace: Path) -> dict[str, int]:
    """Interactions by day in what the workspace ingested."""
    table = pq.read_table(workspace / "artifacts" / "interactions" / "interactions.parquet")
    found: dict[str, int] = {}
    for time in table["timestamp"].to_pylist():
        found[time.date().isoformat()] = found.get(time.date().isoformat(), 0) + 1
    return found


def test_each_day_is_met_then_taken_in_then_judged_upon(project: Layout) -> None:
    before = {path: path.read_bytes() for path in project.root.glob("*.*") if path.is_file()}
    days = list(backfill(project, FIRST, LAST, QUIET))
    workspace = workspace_of(project, LAST)
    log = held(project.root)
    expected = {day: count for day, count in log.items() if day <= LAST.isoformat()}
    assert held(workspace) == expected
    assert [(day.day, day.events) for day in days] == [
        (day.isoformat(), log[day.isoformat()]) for day in (FIRST, LAST)
    ]
    for day in days:
        assert day.low is not None
        assert day.live is not None
        assert day.high is not None
        assert 0 < day.low <= day.live <= day.high < 1
        assert day.ending in ("promoted", "rejected")
    registry = registry_of(project, LAST)
    assert len(history.decisions(registry)) == 3  # the first model's, and one of each day
    assert days[-1].champion == registry.aliases()["champion"]
    assert history.decisions(history.open_registry(project)) == []
    changed = {path for path, content in before.items() if path.read_bytes() != content}
    assert {path.name for path in changed} <= {"mlflow.db"}


def test_an_interrupted_backfill_continues(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = backfill(project, FIRST, LAST, QUIET)
    first = next(running)
    running.close()
    trained: list[str] = []

    def counted(layout: Layout, name: str, on_line: object, *, lock: object = None) -> object:
        trained.append(name)
        return small.stage(layout, name, QUIET.say)

    monkeypatch.setattr(pipeline, "stage", counted)
    days = list(backfill(project, FIRST, LAST, QUIET))
    assert days[0] == first
    assert len(days) == 2
    assert trained.count("train") == 1
    assert list(backfill(project, FIRST, LAST, QUIET)) == days


@pytest.mark.parametrize("content", ["[{", '[{"day": 7}]'])
def test_a_damaged_state_is_one_line(project: Layout, content: str) -> None:
    state = workspace_of(project, LAST) / ".recctl"
    Replay(project, FIRST, LAST).prepare({})
    state.mkdir(exist_ok=True)
    (state / "backfill.json").write_text(content)
    with pytest.raises(UserError, match=r"backfill\.json is damaged; remove the folder"):
        next(backfill(project, FIRST, LAST, QUIET))


class Killed(BaseException):
    """In place of a kill; only here, so that nothing catches it."""


PROMOTES = {"promotion.primary": None, "promotion.ratchet": {"margin": 0.9}}
"""A policy that lets every day's model serve."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The first day as a backfill that nobody kills has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "stage", small.stage)
        layout = small.make(tmp_path_factory.mktemp("undisturbed") / "project")
        small.STAGES["ingest"](layout)
        [day] = backfill(layout, FIRST, FIRST, QUIET, settings=PROMOTES)
    assert (day.ending, day.champion) == ("promoted", 2)
    assert day.live is not None
    assert day.challenger is not None
    return day


@pytest.mark.parametrize(
    "moment",
    [
        "met",
        "done",
        *(pytest.param(one, marks=pytest.mark.faults) for one in ("taken in", "decided")),
    ],
)
def test_a_day_that_was_killed_is_the_day_that_it_was(
    project: Layout, undisturbed: Day, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Killed before the champion met it, before its training, before its telling, after all."""
    endings: list[str | None] = []

    def watch(*_: Any) -> Any:
        raise Killed

    def step(name: str, work: Any, /) -> Any:
        if moment == "met" and name == "train" and endings:
            raise Killed
        return work()

    def tell(done: Any) -> None:
        endings.append(done.ending)
        if moment == "decided" and len(endings) == 2:  # the first is the model before the first day
            raise Killed

    def keep(path: Path, value: Any) -> None:
        if moment == "done" and path.name == "backfill.json" and value:
            raise Killed
        write_json(path, value)

    with monkeypatch.context() as killing:
        killing.setattr(backfilling, "write_json", keep)
        if moment == "taken in":
            killing.setattr(backfilling, "watch", watch)
        hooks = Hooks(say=QUIET.say, step=step, finished=tell)
        with pytest.raises(Killed):
            list(backfill(project, FIRST, FIRST, hooks, settings=PROMOTES))
    again = list(backfill(project, FIRST, FIRST, QUIET, settings=PROMOTES))
    assert again == [undisturbed]
    assert list(backfill(project, FIRST, FIRST, QUIET, settings=PROMOTES)) == again


def test_the_same_days_are_replayed_by_one_at_a_time(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the first still lays out the workspace, which the second would remove."""
    tries = 0

    def add(layout: Layout) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            with pytest.raises(MayPass, match=r"another backfill from .* is at work"):
                next(backfill(project, FIRST, FIRST, QUIET))
        real(layout)

    real = versions.add
    monkeypatch.setattr(versions, "add", add)
    running = backfill(project, FIRST, FIRST, QUIET)
    done = next(running)
    with pytest.raises(MayPass, match="is at work"):
        next(backfill(project, FIRST, FIRST, QUIET))
    running.close()
    assert list(backfill(project, FIRST, FIRST, QUIET)) == [done]
    assert tries == 1


def test_one_that_was_removed_begins_with_no_model_that_knows_the_days(project: Layout) -> None:
    """Its versions are still in the registry, trained on what is replayed now."""
    first = list(backfill(project, FIRST, FIRST, QUIET, settings=PROMOTES))
    shutil.rmtree(workspace_of(project, FIRST))
    again = list(backfill(project, FIRST, FIRST, QUIET, settings=PROMOTES))
    assert again == first
    assert again[0].live is not None


def test_days_after_the_end_of_the_log_are_refused(project: Layout) -> None:
    late = date(2021, 9, 13)
    with pytest.raises(UserError, match=r"the log ends on 2020-09-\d\d, before 2021-09-13"):
        next(backfill(project, FIRST, late, QUIET))


def test_settings_are_the_workspaces_own(project: Layout) -> None:
    before = project.params.read_text()
    settings = {"train.model": "popularity", "promotion.first_model": "any"}
    days = list(backfill(project, FIRST, FIRST, QUIET, settings=settings))
    assert project.params.read_text() == before
    registry = registry_of(project, FIRST)
    assert {row.model for row in history.versions(registry)} == {"popularity"}
    with pytest.raises(UserError, match="with other settings; remove that folder"):
        next(backfill(project, FIRST, FIRST, QUIET, settings={"train.model": "markov"}))
    assert days[0].metric == "ndcg@10"


def test_days_without_a_champion_have_no_figure(project: Layout) -> None:
    settings = {"train.model": "popularity", "promotion.first_model": "none"}
    days = list(backfill(project, FIRST, FIRST, QUIET, settings=settings))
    assert [(one.live, one.champion, one.ending) for one in days] == [(None, None, "rejected")]


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (LAST, FIRST, "is before the first"),
        (date(2020, 9, 1), date(2020, 9, 2), "the log has nothing before 2020-09-01"),
    ],
)
def test_days_that_cannot_be_replayed(project: Layout, first: date, last: date, words: str) -> None:
    with pytest.raises(UserError, match=words):
        list(backfill(project, first, last, QUIET))


def day(number: int, ending: str, live: float | None) -> Day:
    low, high = (None, None) if live is None else (live - 0.1, live + 0.1)
    return Day(f"2024-12-{number:02d}", 10, "ndcg@10", live, low, high, 2, ending, 0.3, "why")


def test_the_curve(tmp_path: Path) -> None:
    days = [day(1, "rejected", 0.2), day(2, "promoted", None), day(3, "rejected", 0.3)]
    lines = curve.table(days).markdown().splitlines()
    assert lines[2] == (
        "| 2024-12-01 | 10 | .2000 | .1000 to .3000 | .3000 | rejected | version 2 |"
    )
    assert lines[3].startswith("| 2024-12-02 | 10 | - | - |")
    assert len(lines) == 5
    curve.plot(days, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
