"""Ends a promotion or a rollback at any of its steps; a program that `test_promote_killed` runs.

    python deaths.py FOLDER SCENARIO:WAY[:STEP[:EVERY]] ...

prepares a project in FOLDER, lists the steps of the scenario's change, and then, for every moment
of every step (from STEP on; with EVERY, for one moment of so many), carries out the change in a
separate process that is ended there, and looks at what is left in another one. A line of JSON per
moment goes to stdout. WAY is how it ends: `killed` (SIGKILL), `silent` (this one request gets no
answer) or `away` (nor does any after).

Nothing in recctl knows of this: every request that changes something in MLflow, every download and
every step that makes files is wrapped from the outside. What is between two steps changes
nothing, so the moment after a step is the moment before the next one.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tiny_project as tiny
from served_here import Here

from programs import apart, must
from recctl.errors import UserError
from recctl.layout import Layout
from recctl.promotion import history, write_pages
from recctl.promotion.ledger import log
from recctl.promotion.ledger.registry import Registry
from recctl.promotion.promote import Outcome
from recctl.promotion.trial import archive, contenders, package, service
from recctl.promotion.verify import verify
from recctl.promotion.view import page, plots
from recctl.tracking import server

Said = list[str]
READS = ("get_", "search_", "download_")


# --- the changes that are ended


def judge(layout: Layout, said: Said) -> Outcome:
    return tiny.promote(layout, say=said.append)


def go_back(layout: Layout, said: Said) -> Outcome:
    return tiny.rollback(layout, say=said.append)


def first(layout: Layout) -> None:
    tiny.train(layout, "markov")


def better(layout: Layout) -> None:
    tiny.train(layout, "item-knn")
    judge(layout, [])
    tiny.train(layout, "markov")


def worse(layout: Layout) -> None:
    tiny.train(layout, "markov")
    judge(layout, [])
    tiny.train_markov(layout, smoothing=1e9)


def two(layout: Layout) -> None:
    better(layout)
    judge(layout, [])


SCENARIOS: dict[str, tuple[Callable[[Layout], None], Callable[[Layout, Said], Outcome]]] = {
    "first": (first, judge),
    "better": (better, judge),
    "worse": (worse, judge),
    "rollback": (two, go_back),
}


# --- how they are ended


@dataclasses.dataclass
class Steps:
    """Counts steps, and ends the process (or the request) at one moment of one of them."""

    way: str
    at: int
    """From 1; 0 never ends anything."""
    moment: str = "before"
    """`before`, `within` (half of it done) or `after`."""
    names: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    """Of the steps taken, each with whether half of it can be done."""

    def take(self, name: str, call: Callable[[], Any], half: Callable[[], Any] | None) -> Any:
        self.names.append((name, half is not None))
        number = len(self.names)
        if number > self.at > 0 and self.way == "away":
            raise unanswered()
        if number != self.at:
            return call()
        if self.moment == "within":
            assert half is not None
            half()
        elif self.moment == "after":
            call()
        return self._end()

    def read(self, call: Callable[[], Any]) -> Any:
        if self.way == "away" and len(self.names) >= self.at > 0:
            raise unanswered()
        return call()

    def _end(self) -> None:
        if self.way == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise unanswered()


def unanswered() -> Exception:
    """What MLflow's client raises when a server does not answer in time."""
    import requests
    from mlflow.exceptions import MlflowException

    error = MlflowException("API request to http://mlflow/api failed: Read timed out")
    error.__cause__ = requests.exceptions.ReadTimeout("Read timed out")
    return error


class Watched:
    """An MLflow client whose writing requests are steps."""

    def __init__(self, client: Any, steps: Steps) -> None:
        self._client, self._steps = client, steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def request(*args: Any, **kwargs: Any) -> Any:
            def call() -> Any:
                return method(*args, **kwargs)

            if name.startswith(READS):
                return self._steps.read(call)
            half = None
            if name == "log_artifacts":
                run_id, folder, sub = args

                def half() -> None:
                    with halved(Path(folder)) as part:
                        method(run_id, str(part), sub)

            return self._steps.take(name, call, half)

        return request


@contextlib.contextmanager
def halved(folder: Path) -> Iterator[Path]:
    """A folder's first half of files, beside it."""
    part = folder.with_name(f"{folder.name}-half")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files[: len(files) // 2]:
        copy = part / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    yield part
    shutil.rmtree(part)


def watch(steps: Steps) -> None:
    """Wrap every step of this process."""
    connect = server.connect

    def connected(layout: Layout) -> server.Tracking:
        found = connect(layout)
        return dataclasses.replace(found, client=Watched(found.client, steps))  # type: ignore[arg-type]

    server.connect = connected
    if steps.way == "killed":  # what makes files is no request that gets no answer
        owners = [(package, "build"), (archive, "save"), (plots, "intervals"), (page, "markdown")]
        owners += [(write_pages, "pages"), (Registry, "download"), (Here, "ask")]
        for owner, name in owners:
            setattr(owner, name, wrapped(name, getattr(owner, name), steps))


def wrapped(name: str, function: Callable[..., Any], steps: Steps) -> Callable[..., Any]:
    def step(*args: Any, **kwargs: Any) -> Any:
        return steps.take(name, lambda: function(*args, **kwargs), None)

    return step


# --- what is found


def attempt(layout: Layout, scenario: str, steps: Steps) -> dict[str, Any]:
    """Carry the change out and say how it went."""
    said: Said = []
    watch(steps)
    return {"ended": how(layout, scenario, said), "said": said, "steps": steps.names}


def how(layout: Layout, scenario: str, said: Said) -> str:
    """Carry the change out; in a word how that ended."""
    try:
        outcome = SCENARIOS[scenario][1](layout, said)
    except UserError as error:
        return f"UserError: {error}"
    if outcome.record is None:
        return str(outcome.note)
    return str(outcome.record.verdict or outcome.record.kind)


def picture(layout: Layout) -> dict[str, Any]:
    """What serves, what is recorded, and what `verify` says; nothing is changed by looking."""
    registry = history.open_registry(layout)
    champion = registry.aliases().get("champion")
    if champion is not None:  # all of it is there and is what was registered
        contenders.registered(registry, layout, champion, log.in_force(registry.entries()))
    entries = registry.entries()
    line = log.in_force(entries)
    moves = log.moving(line)
    return {
        "champion": champion,
        "aliases": registry.aliases(),
        "digests": [one.digest for one in registry.versions()],
        "states": [one.state for one in line],
        "nonces": [one.content["nonce"] for one in line],
        "moves": [[one.content["kind"], (one.sets or {})["champion"]] for one in moves],
        "waiting": bool(moves) and moves[-1].state == "pending",
        "unnamed": [one.number for one in registry.versions() if "recctl.decision" not in one.tags],
        "pages": sorted(path.parent.name for path in layout.decisions.glob("*/decision.html")),
        "wrong": [
            f"{one.name}: {one.detail}"
            for one in verify(registry, layout, everything=True)
            if not one.ok
        ],
    }


def aftermath(layout: Layout, scenario: str) -> dict[str, Any]:
    """What is left, what the same command does about it, and what is there then."""
    left = picture(layout)
    said: Said = []
    again = how(layout, scenario, said)
    return {"left": left, "again": again, "said": said, "then": picture(layout)}


def moments(names: list[tuple[str, bool]], way: str, start: str) -> Iterator[tuple[int, str]]:
    """Every moment from a step called `start` on, the first of that name (else than kills: last).

    Only where the process goes on is the moment after a step another one than before the next.
    """
    called = [number for number, (name, _) in enumerate(names, start=1) if name == start]
    begin = called[0 if way == "killed" else -1]
    for number, (_, halves) in enumerate(names, start=1):
        if number < begin:
            continue
        yield number, "before"
        if halves and way == "killed":
            yield number, "within"
        if way == "silent" or number == len(names):
            yield number, "after"


def draw_nothing(body: dict[str, Any], path: Path) -> None:
    path.write_bytes(b"a picture")


def main(folder: Path, jobs: list[str]) -> None:
    plots.intervals = draw_nothing  # what takes its time and is not at stake here
    service.Process = Here  # type: ignore[assignment,misc]
    for job in jobs:
        scenario, way, *start = job.split(":")
        run(folder / job.replace(":", "-"), scenario, way, *start)


def run(folder: Path, scenario: str, way: str, start: str = "", every: str = "1") -> None:
    layout, backup = Layout(folder / "project"), folder / "backup"
    policy = {**tiny.POLICY, "serving": True}
    must(lambda: SCENARIOS[scenario][0](tiny.make(layout.root, policy)))
    shutil.copytree(layout.root, backup)

    def fresh() -> None:
        shutil.rmtree(layout.root)
        shutil.copytree(backup, layout.root)

    def tell(**found: Any) -> None:
        print(json.dumps({"scenario": scenario, "way": way, **found}), flush=True)

    before = must(lambda: picture(layout))
    fresh()
    dry = must(lambda: attempt(layout, scenario, Steps(way, 0)))
    tell(step=0, before=before, dry=dry, after=must(lambda: picture(layout)))
    names = dry["steps"]
    ends = moments(names, way, start or names[0][0])
    for number, moment in itertools.islice(ends, 0, None, int(every)):
        fresh()
        code, found = apart(lambda: attempt(layout, scenario, Steps(way, number, moment)))  # noqa: B023
        left = must(lambda: aftermath(layout, scenario))
        tell(step=number, name=names[number - 1][0], moment=moment, code=code, found=found, **left)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
