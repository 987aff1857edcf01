"""Real processes against real registries: who wins, and what a killed one leaves behind."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import racers
from servers import (
    add_model,
    connect,
    fresh_sqlite,
    losing_answers,
    mlflow_server,
    picture,
    promotion,
    recovered,
    tracked_at,
)

import forked
from databases import postgresql
from lives import SECONDS
from recctl.promotion.ledger.aliases import append, follow, serving
from recctl.promotion.ledger.log import Entry, in_force, moving
from recctl.promotion.ledger.recovery import recover
from recctl.promotion.ledger.registry import Registry

BACKENDS = ("sqlite", "postgresql", "http")


@dataclass(frozen=True)
class Backend:
    """A registry that several processes share."""

    kind: str
    root: Path
    uri: str


@pytest.fixture(scope="module")
def processes() -> Any:
    return forked.context()


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Backend]]:
    """Backends by name, started when first asked for."""
    started: dict[str, Backend] = {}
    with ExitStack() as stack:

        def start(kind: str) -> Backend:
            if kind not in started:
                root = tmp_path_factory.mktemp(kind)
                if kind == "sqlite":
                    uri = fresh_sqlite(root)
                else:
                    serve = postgresql if kind == "postgresql" else mlflow_server
                    uri = stack.enter_context(serve(root))
                started[kind] = Backend(kind, root, uri)
            return started[kind]

        yield start


@pytest.fixture(params=BACKENDS)
def backend(
    request: pytest.FixtureRequest,
    backends: Callable[[str], Backend],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Backend]:
    """Each kind in turn, emptied of what the tests before left in the registry."""
    shared = backends(request.param)
    monkeypatch.chdir(shared.root)
    with tracked_at(shared.uri):
        registry = connect(shared.root, shared.uri)
        for model in registry.client.search_registered_models():
            registry.client.delete_registered_model(model.name)
        yield shared


@dataclass
class Racer:
    """A process at the other end of a pipe."""

    process: Any
    pipe: Connection

    def hear(self) -> Any:
        assert self.pipe.poll(SECONDS), "the process is silent"
        return self.pipe.recv()


def start(processes: Any, what: Any, backend: Backend, count: int) -> list[Racer]:
    started = []
    for number in range(count):
        ours, theirs = processes.Pipe()
        process = processes.Process(target=what, args=(theirs, backend.root, backend.uri, number))
        process.start()
        theirs.close()
        started.append(Racer(process, ours))
    assert [racer.hear() for racer in started] == ["ready"] * count
    return started


def end(started: list[Racer]) -> None:
    for racer in started:
        racer.process.join(SECONDS)
        assert racer.process.exitcode == 0


@pytest.mark.parametrize(
    ("backend", "count", "rounds"),
    [
        ("sqlite", 2, 4),
        ("sqlite", 5, 2),
        ("postgresql", 2, 4),
        ("postgresql", 5, 2),
        ("http", 5, 1),  # its requests take longer
    ],
    indirect=["backend"],
)
def test_of_several_promotions_at_once_exactly_one_wins(
    backend: Backend, processes: Any, count: int, rounds: int
) -> None:
    registry = connect(backend.root, backend.uri)
    versions = [add_model(registry, backend.root, f"m{n}").number for n in range(count + 1)]
    racers_ = start(processes, racers.race, backend, count)
    ended: list[str] = []
    for round_ in range(rounds):
        before = len(moving(in_force(registry.entries())))
        challengers = [versions[(round_ + n) % len(versions)] for n in range(count)]
        for racer, version in zip(racers_, challengers, strict=True):
            racer.pipe.send(version)
        outcomes = [racer.hear() for racer in racers_]
        assert sorted(outcomes) == ["promoted"] + ["stale"] * (count - 1)
        winner = challengers[outcomes.index("promoted")]
        now = serving(registry)
        assert (now.aliases["champion"], now.says["champion"]) == (winner, winner)
        assert now.agree
        assert not now.pending
        assert not now.broken
        assert len(moving(now.line)) == before + 1
        ended += outcomes
        for racer in racers_:
            racer.pipe.send("on")
        assert [racer.hear() for racer in racers_] == ["ready"] * count
    for racer in racers_:
        racer.pipe.send(None)
    end(racers_)
    now = serving(registry)
    late = [entry for entry in now.line if entry.content["verdict"] == "stale"]
    assert len(late) == rounds * (count - 1)
    assert (ended.count("promoted"), ended.count("stale")) == (rounds, rounds * (count - 1))
    print(
        f"\n{backend.kind}: {rounds} rounds of {count} processes: "
        f"{ended.count('promoted')} promoted, {ended.count('stale')} stale; "
        f"{len(now.entries)} entries, {len(now.entries) - len(now.line)} of them void"
    )


def test_the_same_content_registered_at_once_is_one_version(
    backend: Backend, processes: Any
) -> None:
    started = start(processes, racers.register_same, backend, 4)
    for racer in started:
        racer.pipe.send("go")
    numbers = {racer.hear() for racer in started}
    end(started)
    registry = connect(backend.root, backend.uri)
    assert numbers == {version.number for version in registry.versions()}
    assert len(numbers) == 1


def test_a_fresh_database_survives_four_first_touches_and_mlflow_alone_does_not(
    tmp_path: Path, processes: Any
) -> None:
    def touched(way: str, database: str) -> list[int]:
        backend = Backend("sqlite", tmp_path, f"sqlite:///{tmp_path / database}")
        started = start(processes, racers.touch, backend, 4)
        for racer in started:
            racer.pipe.send(way)
        for racer in started:
            racer.process.join(SECONDS)
        return [racer.process.exitcode for racer in started]

    assert any(any(touched("mlflow", f"trap-{n}.db")) for n in range(3))
    assert touched("recctl", "ours.db") == [0, 0, 0, 0]


def run(processes: Any, what: Any, *arguments: Any) -> int:
    process = processes.Process(target=what, args=arguments)
    process.start()
    process.join(SECONDS)
    code: int = process.exitcode
    return code


def everything_holds(registry: Registry, old: int, new: int | None) -> str:
    """After a kill: one of the two serves; recovering ends it; recovering again changes nothing."""
    assert registry.aliases().get("champion") in {old, new}
    now, _ = recovered(registry)
    assert now.agree
    assert not now.pending
    assert not now.broken
    assert now.says["champion"] in {old, new}
    rest = picture(registry)
    again, said = recovered(registry)
    assert said == []
    assert picture(registry) == rest
    return "old" if again.says["champion"] == old else "new"


@pytest.mark.parametrize(
    ("backend", "every"),
    [("sqlite", 2), *(pytest.param(kind, 1, marks=pytest.mark.faults) for kind in BACKENDS)],
    indirect=["backend"],
)
def test_a_promotion_killed_at_any_request_leaves_one_champion(
    backend: Backend, processes: Any, every: int
) -> None:
    registry = connect(backend.root, backend.uri)
    racers.promote(registry, backend.root, "first")
    old = serving(registry).says["champion"]
    served: list[str] = []
    # a server is asked the same requests; there only what comes after the registration
    first = 1 if backend.kind == "sqlite" else 8
    for request in range(first, 40, every):
        after = backend.kind == "http" and request // every % 2 == 0
        word = f"killed at {request}"
        code = run(
            processes, racers.killed_promotion, backend.root, backend.uri, word, request, after
        )
        found = registry.find(f"digest of {word}")
        served.append(everything_holds(registry, old, found.number if found else None))
        old = serving(registry).says["champion"]
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert served[0] == "old"
    assert served[-2:] == ["new", "new"]
    assert served == sorted(served, key=["old", "new"].index)  # never back to the old one
    print(f"\n{backend.kind}: killed at requests {first} to {request - 1}: {' '.join(served)}")


@pytest.mark.parametrize("unfit", [False, True])
def test_a_recovery_killed_at_any_request_leaves_one_champion(
    tmp_path: Path, processes: Any, unfit: bool
) -> None:
    uri = fresh_sqlite(tmp_path)
    with tracked_at(uri):
        registry = connect(tmp_path, uri)
        racers.promote(registry, tmp_path, "one")
        racers.promote(registry, tmp_path, "two")
        killed = 0
        for request in range(1, 20):
            now = serving(registry)
            old = now.says["champion"]
            assert old is not None
            new = 3 - old
            run_id = registry.decision_run("d")
            assert isinstance(append(registry, promotion(now, new), run_id), Entry)
            bad = new if unfit else None
            code = run(processes, racers.killed_recovery, tmp_path, uri, bad, request, False)
            assert registry.aliases()["champion"] in {old, new}
            # the next command finds the same version fit or unfit
            recover(
                registry,
                lambda one: "altered" if one == bad else None,  # noqa: B023
                lambda said: None,
                serving(registry),
            )
            served = everything_holds(registry, old, new)
            assert served == ("old" if unfit else "new")
            if code == 0:
                break
            killed += 1
    assert killed == (7 if unfit else 5)


def test_a_lost_answer_makes_mlflow_write_twice_and_the_log_counts_once(
    backends: Callable[[str], Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy carries out the request and drops its answer; MLflow's client repeats POSTs."""
    shared = backends("http")
    lost: list[str] = []

    def lose(method: str, path: str) -> bool:
        if method == "POST" and path.endswith("model-versions/create") and len(lost) < 2:
            lost.append(path)
            return True
        return False

    with losing_answers(shared.uri, lose) as uri, tracked_at(uri):
        registry = connect(shared.root, uri, "twice")
        lost += ["not", "yet"]
        racers.promote(registry, shared.root, "one")
        racers.promote(registry, shared.root, "two")
        now = serving(registry)
        run_id = registry.decision_run("d")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        lost.clear()
        outcome = append(registry, promotion(now, 1), run_id)
        assert isinstance(outcome, Entry)
        follow(registry, outcome)
        now = serving(registry)
        assert len(lost) == 2
        assert [entry.position for entry in now.entries] == [1, 2, 3, 4, 5]
        assert [entry.position for entry in now.line] == [1, 2, 3]
        assert (now.aliases["champion"], now.agree, now.broken) == (1, True, [])

        # without the client's own repetition ours looks first, and writes nothing twice
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        lost[:] = ["already one"]
        outcome = append(registry, promotion(now, 2), run_id)
        assert isinstance(outcome, Entry)
        assert outcome.position == 6
        assert len(registry.entries()) == 6


def test_a_registration_whose_answer_was_lost_is_one_version(
    backends: Callable[[str], Backend], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = backends("http")
    lost: list[str] = []

    def lose(method: str, path: str) -> bool:
        lost.append(path) if path.endswith("model-versions/create") else None
        return path.endswith("model-versions/create") and len(lost) == 2

    with losing_answers(shared.uri, lose) as uri, tracked_at(uri):
        registry = connect(shared.root, uri, "once")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
        number = add_model(registry, tmp_path, "one").number
        assert [version.number for version in registry.versions()] == [number] == [1]
        assert add_model(registry, tmp_path, "one").number == 1
