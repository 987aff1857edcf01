"""What the processes of the concurrency tests do; each is started afresh by the test."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from servers import add_model, connect, promotion, recovered

from recctl.promotion.ledger.aliases import Stale, append, follow, serving
from recctl.promotion.ledger.registry import Registry


def race(pipe: Connection, root: Path, uri: str, number: int) -> None:
    """Say `ready`, wait for a version, try to make it champion, say how that ended; until None.

    A loser then records that it came too late, as `recctl promote` does.
    """
    os.chdir(root)
    registry = connect(root, uri)
    run_id = registry.decision_run(f"racer {number}")
    while True:
        now, _ = recovered(registry)
        pipe.send("ready")
        version = pipe.recv()
        if version is None:
            return
        outcome = append(registry, promotion(now, version), run_id)
        if isinstance(outcome, Stale):
            late = promotion(now, version, verdict="stale", sets=None)
            append(registry, late, run_id)
        else:
            follow(registry, outcome)
        pipe.send("stale" if isinstance(outcome, Stale) else "promoted")
        pipe.recv()


def register_same(pipe: Connection, root: Path, uri: str, number: int) -> None:
    """Register the same content as the others at the same time; send the version's number."""
    os.chdir(root)
    registry = connect(root, uri)
    own = root / f"own-{number}"
    pipe.send("ready")
    pipe.recv()
    pipe.send(add_model(registry, own, "same").number)


def touch(pipe: Connection, root: Path, uri: str, number: int) -> None:
    """First touch of a database: recctl's way for `recctl`, MLflow's own for `mlflow`."""
    from mlflow import MlflowClient

    pipe.send("ready")
    if pipe.recv() == "recctl":
        connect(root, uri)
    else:
        MlflowClient(uri, registry_uri=uri).search_registered_models()
    pipe.send("fine")


class EndsAt:
    """A client one of whose writing requests ends in `end`, before or after it is carried out."""

    def __init__(self, client: Any, request: int, after: bool, end: Callable[[bool], None]) -> None:
        self._client, self.left, self._after, self._end = client, request, after, end

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        return call if name.startswith(("get_", "search_")) else self._ending(call)

    def _ending(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self._after:
                self._end(False)
            answer = call(*args, **kwargs)
            if self.left == 0:
                self._end(True)
            return answer

        return called


def killed_at(registry: Registry, request: int, after: bool = False) -> Registry:
    """A registry whose process is killed at one of its writing requests."""

    def kill(after: bool) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    return with_client(registry, EndsAt(registry.client, request, after, kill))


def promote(registry: Registry, root: Path, word: str) -> None:
    """All that a promotion changes: a version, a run, an entry, three aliases, tags."""
    now, _ = recovered(registry)
    version = add_model(registry, root, word)
    run_id = registry.decision_run("decision", {"a": "b"}, {"ndcg@10": 0.25})
    outcome = append(registry, promotion(now, version.number), run_id)
    assert not isinstance(outcome, Stale)
    follow(registry, outcome)


def killed_promotion(root: Path, uri: str, word: str, request: int, after: bool) -> None:
    """Promote, and be killed at the given writing request, if there are so many."""
    os.chdir(root)
    registry = connect(root, uri)
    promote(killed_at(registry, request, after), root, word)


def killed_recovery(root: Path, uri: str, bad: int | None, request: int, after: bool) -> None:
    """Recover, with version `bad` unfit to serve, and be killed at the given request."""
    from recctl.promotion.ledger.recovery import recover

    os.chdir(root)
    registry = connect(root, uri)
    deadly = killed_at(registry, request, after)
    recover(
        deadly,
        lambda number: "altered" if number == bad else None,
        lambda said: None,
        serving(deadly),
    )


def with_client(registry: Registry, client: Any) -> Registry:
    """The same registry asked through another client."""
    return replace(registry, tracking=replace(registry.tracking, client=client))


def asking(registry: Registry, **requests: Callable[..., Any]) -> Registry:
    """The same registry through a client of which these requests are others."""

    class Client:
        def __getattr__(self, name: str) -> Any:
            return requests.get(name) or getattr(registry.client, name)

    return with_client(registry, Client())
