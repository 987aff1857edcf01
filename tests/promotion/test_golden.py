"""A challenger is asked in the service's own code before it may serve."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_project as tiny
from served_here import Here

from lives import lives, wait_for
from programs import apart
from recctl.layout import Layout
from recctl.models import BASELINES
from recctl.promotion import history
from recctl.promotion import promote as promoting
from recctl.promotion.trial import archive, golden, service
from recctl.promotion.trial.golden import Request
from recctl.promotion.trial.scoring import TestSet
from recctl.promotion.verify import verify
from recctl.recommend import Recommendation, Rules, Served
from recctl.sequences.store import Histories
from recctl.serve import trial
from recctl.serve.batches import Batches

pytestmark = pytest.mark.usefixtures("quick_decisions")

REAL = service.Process
POLICY = {**tiny.POLICY, "guardrails": {"latency_ratio": 2.0}, "serving": True}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A Markov chain near popularity serves, and a better one is the workspace's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(service, "Process", Here)
        layout = tiny.make(tmp_path_factory.mktemp("golden") / "project", POLICY)
        first = tiny.promote(layout, 1e4)
    assert first.record.of("serving")[0].outcome == "pass"
    tiny.train_markov(layout, 10.0)
    return layout


def by_hand(served: Served, request: Request) -> list[str]:
    """The list from scores of every item, sorted."""
    items, index = served.vocabulary.items, served.vocabulary.index
    history = [index[item] for item in request.history if item in index]
    scores = served.model.score(Histories.of([history]))[0].tolist()
    left_out = set(history) | {index[item] for item in request.rules.exclude}
    order = sorted(set(range(len(items))) - left_out, key=lambda at: (-scores[at], at))
    return [items[at] for at in order[: request.rules.k]]


@pytest.mark.parametrize("kind", ["popularity", "markov", "item-knn"])
def test_requests_of_every_kind_with_the_lists_of_offline_ranking(
    project: Layout, kind: str
) -> None:
    test = TestSet.load(project)
    model = BASELINES[kind].fit(test.data.train(), test.vocabulary.size)
    served = Served(model, test.vocabulary)
    made = golden.requests(test.cases, test.vocabulary, served, filter_seen=True)
    for one in made:
        assert list(one.scores)[: one.rules.k] == by_hand(served, one)
        known = served.known(one.history)[0]
        answered = served.answer([(known, one.rules)])[0]
        assert one.differs([best.item_id for best in answered]) is None

    last = {one.what: one for one in made}
    assert len(made) == golden.USERS + 6
    assert last["a newcomer"].history == []
    unknown = last["a history with unknown items"].history
    assert len(served.known(unknown)[1]) == 2
    assert len(served.known(unknown)[0]) == len(unknown) - 2 > 0
    assert len(last["the longest history"].history) == test.cases.histories.lengths.max()
    assert last["the whole catalogue"].rules.k == tiny.ITEMS
    assert list(made[0].scores)[:5] == sorted(
        last["excluded items"].rules.exclude, key=list(made[0].scores).index
    )


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        ("abc", None),
        ("acb", None),  # b and c are as good as equal
        ("bac", "has 'b' at place 1, offline ranking's 'a'"),
        ("abe", "has 'e' at place 3, offline ranking's 'c'"),
        ("abd", "has 'd' at place 3, offline ranking's 'c'"),
        ("ab", "has 2 items, offline ranking's 3"),
        ("abb", "has 2 items, offline ranking's 3"),
    ],
)
def test_the_order_of_equal_scores_is_free(answered: str, said: str | None) -> None:
    scores = {"a": 4.0, "b": 2.0, "c": 2.0 - 1e-6, "d": 1.9}
    found = Request("a newcomer", [], Rules(3, True), scores).differs(list(answered))
    assert found == (said and f"for a newcomer the service's list {said}")


def rejected(project: Layout, said: str, *, dry_run: bool = True) -> promoting.Outcome:
    """The workspace's model is rejected for one reason; the old one serves."""
    before = psutil.Process().children()
    outcome = tiny.promote(project, dry_run=dry_run)
    assert (outcome.record.verdict, outcome.exit_code) == ("rejected", 3)
    (failed,) = [row for row in outcome.record.gates if row.outcome == "fail"]
    assert said in failed.reason
    assert "\n" not in failed.reason
    assert history.open_registry(project).aliases()["champion"] == 1
    assert list(project.state.glob("package-*")) == []
    assert psutil.Process().children() == before
    return outcome


def asked_after(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Something happens to the challenger's package before the service reads it."""

    class Later(Here):
        def ask(self, asked: dict[str, Any]) -> Any:
            change(Path(asked["models"]["challenger"]["folder"]))
            return super().ask(asked)

    monkeypatch.setattr(service, "Process", Later)


def test_a_package_that_was_changed_meanwhile(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tamper(folder: Path) -> None:
        weights = folder / "artifacts" / "recommender" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"!")

    asked_after(monkeypatch, tamper)
    said = "the service cannot answer with the challenger: the model version in the package is "
    said += "refused: 'artifacts/recommender/model.safetensors' is not the file registered"
    rejected(project, said, dry_run=False)
    registry = history.open_registry(project)
    assert all(check.ok for check in verify(registry, project, everything=True))
    (row,) = history.decisions(registry)[-1].body.of("serving")
    assert (row.outcome, said in row.reason) == ("fail", True)
    assert archive.repeat(registry, registry.entries()[-1].record)[0]


def test_a_service_that_gives_other_lists(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Served.answer

    def turned(self: Served, asked: Any) -> list[list[Recommendation]]:
        return [found[::-1] for found in right(self, asked)]

    monkeypatch.setattr(Served, "answer", turned)
    rejected(project, "for a known user the service's list has ")


def test_a_challenger_that_is_slow_in_the_service(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by 50 ms for each of its answers, by 10 ms for the champion's."""
    right = Batches.answer
    now = [0.0]

    async def slow(self: Batches, history: Any, rules: Rules) -> Any:
        model: Any = self._champion.current.served.model  # type: ignore[union-attr]
        now[0] += 0.05 if model.smoothing == 10.0 else 0.01
        return await right(self, history, rules)

    monkeypatch.setattr(Batches, "answer", slow)
    monkeypatch.setattr(trial.time, "perf_counter", lambda: now[0])
    rejected(project, "p95 of a recommendation 50.0 ms against 10.0 ms")


def test_a_process_that_hangs_is_ended(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs(REAL):
        """Stopped, so that it never reads what it is asked."""

        def __init__(self) -> None:
            super().__init__()
            self._process.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(service, "Process", Hangs)
    monkeypatch.setattr(service, "SECONDS", 0.05)
    rejected(project, "cannot answer with the challenger: it did not answer within 0.05 s")


def test_a_process_that_cannot_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('numpy is gone')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = REAL()
    said = r"^its process ended with exit code 1 \(ImportError: numpy is gone\)$"
    with pytest.raises(service.Failed, match=said):
        process.ask({})
    process.end()


def test_a_process_that_was_killed() -> None:
    process = REAL()
    process._process.kill()  # as a machine without memory does
    with pytest.raises(service.Failed, match="was ended by SIGKILL"):
        process.ask({})
    process.end()


def test_it_ends_with_the_promotion_that_started_it(tmp_path: Path) -> None:
    """Killed while the process imports, before anything was asked."""
    started = tmp_path / "pid"

    def killed() -> None:
        started.write_text(str(REAL()._process.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    assert apart(killed)[0] == -signal.SIGKILL
    pid = int(started.read_text())
    wait_for("the end of the process", lambda: not lives(pid))


def test_without_the_gate_only_latency_is_measured(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.set_params(project.root, promotion={**POLICY, "serving": False})
    better = tiny.promote(project, dry_run=True)
    assert better.record.verdict == "promoted"
    assert better.record.of("serving") == []
    (latency,) = better.record.of("guardrails")
    assert (latency.name, latency.outcome) == ("p95 latency", "pass")
    asked_after(monkeypatch, lambda folder: (folder / "MLmodel").unlink())
    assert tiny.promote(project, dry_run=True).record.verdict == "refused"
    tiny.set_params(project.root, promotion=POLICY)


def test_the_real_process_answers(project: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "Process", REAL)
    before = psutil.Process().children()
    said: list[str] = []
    outcome = tiny.promote(project, say=said.append)
    assert outcome.record.verdict == "promoted"
    assert history.open_registry(project).aliases()["champion"] == 2
    (answered,) = outcome.record.of("serving")
    assert answered.reason == "the service answered 26 requests as offline ranking does"
    assert outcome.record.of("guardrails")[0].challenger > 0
    assert any(line.startswith("the service answered 26 requests in ") for line in said)
    assert psutil.Process().children() == before
