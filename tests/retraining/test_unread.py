"""Whatever MLflow's server answers in place of what was asked, nothing is concluded from it.

Every request of a command is taken in turn; from it on the same request is answered wrongly, each
time it comes. The sample runs with all tests, the whole of it with `make test-faults`.
"""

import contextlib
import io
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import servers
import small_project as small
import tiny_project as tiny

import faulty
import forked_dvc
from faulty import FAULTS, Call, Proxy
from recctl import cli, dvc, pipeline
from recctl.layout import Layout
from recctl.promotion import promote
from recctl.promotion.ledger import aliases, registry, requests
from recctl.promotion.verify import verify
from recctl.promotion.view import plots
from recctl.stages import train
from recctl.tracking import runs

COMMANDS = {
    "promote": ("ready", ["promote", "--yes"]),
    "promote (finishing)": ("pending", ["promote", "--yes"]),
    "rollback": ("two", ["rollback", "--reason", "a test", "--yes"]),
    "verify": ("two", ["verify", "--all"]),
    "compare": ("ready", ["compare", "champion", "workspace"]),
    "retrain": ("ready", ["retrain"]),
    "monitor": ("ready", ["monitor"]),
}
"""By name the state that a command starts from, and its arguments."""


SHORT, LONG = 3, 60
"""Seconds that a server gets to answer; for one that never does, and else."""


@dataclass
class World:
    """A project, a server, the proxy between them, and the states to begin with."""

    folder: Path
    layout: Layout
    proxy: Proxy
    server: str

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"

    def keep(self, state: str) -> None:
        """Remember how everything stands now."""
        _copy(self.database, self.folder / f"{state}.db")
        shutil.copytree(self.layout.root, self.folder / state)

    def restore(self, state: str) -> None:
        _copy(self.folder / f"{state}.db", self.database)
        shutil.rmtree(self.layout.root)
        shutil.copytree(self.folder / state, self.layout.root)

    def run(self, arguments: list[str], at: Call | None = None, fault: str = "") -> "Done":
        """A command in this process, by way of the proxy."""
        self.proxy.begin(at, fault)
        try:
            patience = SHORT if fault == "hang" else LONG
            return _run(self.layout, arguments, self.proxy.address, patience)
        finally:
            self.proxy.released.set()

    def picture(self) -> dict[str, Any]:
        """Who serves, and what was ever decided."""
        reached = servers.connect(self.layout.root, self.server, "tiny")
        return {
            "champion": reached.aliases().get("champion"),
            "verdicts": [one.content["verdict"] for one in reached.entries()],
            "states": [one.state for one in reached.entries()],
            "versions": len(reached.versions()),
        }


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        return self.err.splitlines()[-1] if self.err else ""


def _copy(source: Path, target: Path) -> None:
    """A database as a whole, into one that a server may have open."""
    one, other = sqlite3.connect(source), sqlite3.connect(target, timeout=30)
    with contextlib.closing(one), contextlib.closing(other):
        one.backup(other)


def _run(layout: Layout, arguments: list[str], uri: str, patience: int) -> Done:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    before = Path.cwd(), sys.argv
    os.chdir(layout.root)
    sys.argv = ["recctl", *arguments]
    try:
        with servers.tracked_at(uri), contextlib.redirect_stdout(out):
            os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
            os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(patience)
            with contextlib.redirect_stderr(err):
                cli.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    finally:
        os.chdir(before[0])
        sys.argv = before[1]
        os.environ.pop("MLFLOW_HTTP_REQUEST_MAX_RETRIES", None)
        os.environ.pop("MLFLOW_HTTP_REQUEST_TIMEOUT", None)
    return Done(code, out.getvalue(), err.getvalue())


def _train(layout: Layout) -> None:
    train.run(layout)
    tiny.evaluate(layout)


def _evaluate(layout: Layout) -> None:
    small.with_metrics(layout)
    runs.log_evaluation(layout, metrics={"hr@10": 0.5}, files=[layout.evaluation])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """v1 serves; one more day came since, and a better model is trained."""
    folder = tmp_path_factory.mktemp("unread")
    patched = pytest.MonkeyPatch()
    patched.setattr(requests, "SECONDS_OF_PAUSE", 0.0)
    patched.setattr(aliases, "SECONDS_BETWEEN_LOOKS", 0.0)
    patched.setattr(requests.random, "uniform", lambda low, high: 0.0)
    patched.setattr(plots, "intervals", lambda body, path: path.write_bytes(b"a picture"))
    patched.setattr(pipeline, "stage", small.stage)
    patched.setattr(dvc, "ask", forked_dvc.ask)
    patched.setattr(small, "STAGES", {**small.STAGES, "train": _train, "evaluate": _evaluate})
    with servers.mlflow_server(folder, workers=1) as server, faulty.proxy(server) as proxy:
        layout = Layout(folder / "project")
        small.make(layout.root, retrain=QUIET)
        (layout.root / "mlflow.db").unlink()
        world = World(folder, layout, proxy, server)
        _prepare(world)
        yield world
    patched.undo()


QUIET = {"publish": {"commit": False, "push_data": False}}


def _prepare(world: World) -> None:
    layout = world.layout
    small.settings(layout, train={"device": "cpu", "model": "item-knn"})
    done = world.run(["retrain"])
    assert done.code == 0, done
    small.settings(layout, train={"device": "cpu", "model": "markov"})
    small.drop(layout, 10, 11)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(promote, "promote", _never)
        patched.setattr("recctl.retraining.decide.promote", _never)
        assert "not now" in world.run(["retrain"]).line
    world.keep("ready")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(aliases, "follow", _never)
        assert "not now" in world.run(["promote", "--yes"]).line
    world.keep("pending")
    assert world.run(["promote", "--yes"]).code == 0
    world.keep("two")


def _never(*given: Any, **named: Any) -> Any:
    from recctl.errors import UserError

    raise UserError("not now")


Cell = tuple[Call, str]


def cells(calls: list[Call]) -> tuple[list[Cell], list[Cell]]:
    """What is tried: each request once, by the faults in turns; then each kind by all the others.

    Of many requests of a kind the first, the last and two between.
    """
    turns: list[Cell] = []
    kinds = Counter(kind for kind, _ in calls)
    for kind, last in kinds.items():
        places = range(1, last + 1) if last <= 6 else (1, last // 3, 2 * last // 3, last)
        turns += [
            ((kind, place), FAULTS[(len(turns) + i) % len(FAULTS)])
            for i, place in enumerate(places)
        ]
    rest = [((kind, 1), fault) for kind in kinds for fault in FAULTS]
    return turns, [cell for cell in rest if cell not in turns]


def judged(world: World, name: str, at: Call, fault: str, whole: "Whole") -> list[str]:
    """What is wrong after a command that met a fault."""
    state, arguments = COMMANDS[name]
    world.restore(state)
    done = world.run(arguments, at, fault)
    if not world.proxy.hits:
        return [] if done.code == whole.code else [f"{done.code} without a fault: {done.line}"]
    after = world.picture()
    wrong = [] if done.code in (2, whole.code) else [f"exit code {done.code}: {done.line}"]
    if "Traceback" in done.err or (done.code == 2 and not done.line.startswith("recctl: ")):
        wrong.append(f"no line for people: {done.err[-2000:]}")
    if done.code == 0 and after != whole.after:
        wrong.append(f"it ended well and left {after}")
    if after["champion"] not in (whole.before["champion"], whole.after["champion"]):
        wrong.append(f"version {after['champion']} serves")
    kept = [verdict for verdict in after["verdicts"] if verdict in (None, "promoted")]
    if kept != after["verdicts"] or kept != whole.after["verdicts"][: len(kept)]:
        wrong.append(f"decisions: {after['verdicts']}")
    if name in ("verify", "compare", "monitor") and after != whole.before:
        wrong.append(f"a command that reads left {after}")
    if "not consistent" in done.out or "checks failed" in done.out:
        wrong.append(f"called inconsistent: {done.out[-500:]}")
    if after != whole.before and done.code == 2:
        again = world.run(arguments)
        over = after == whole.after and "served before this one" in again.line  # a rollback
        if again.code not in (0, whole.code) and not over:
            wrong.append(f"afterwards it ends with {again.code}: {again.line}")
        if name != "rollback" and world.picture() != whole.after:
            wrong.append(f"afterwards there is {world.picture()}")
        if not all(one.ok for one in verify(*_opened(world), everything=True)):
            wrong.append("afterwards verify finds faults")
    return [f"{name}, {fault} from request {at[1]} of {at[0]}: {one}" for one in wrong]


def _opened(world: World) -> tuple[registry.Registry, Layout]:
    return servers.connect(world.layout.root, world.server, "tiny"), world.layout


@dataclass
class Whole:
    """A command that met no fault."""

    code: int
    before: dict[str, Any]
    after: dict[str, Any]
    calls: list[Call]


def without(world: World, name: str) -> Whole:
    state, arguments = COMMANDS[name]
    world.restore(state)
    before = world.picture()
    done = world.run(arguments)
    assert done.code == 0, done
    return Whole(done.code, before, world.picture(), world.proxy.calls)


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", ["each request", "all faults"])
@pytest.mark.parametrize("name", COMMANDS)
def test_any_wrong_answer_at_any_request(world: World, name: str, part: str) -> None:
    whole = without(world, name)
    chosen = cells(whole.calls)[part == "all faults"]
    found = [judged(world, name, at, fault, whole) for at, fault in chosen]
    wrong = [one for some in found for one in some]
    print("\n".join(wrong))
    kinds = len({kind for kind, _ in whole.calls})
    print(f"| {name}, {part} | {len(whole.calls)} | {kinds} | {len(chosen)} | {len(wrong)} |")
    assert wrong == []


FILES = "/api/2.0/mlflow-artifacts/artifacts"
MODEL_FILE = f"GET {FILES}/1/RUN/artifacts/model/FILE"
SAMPLE = [
    ("promote (finishing)", MODEL_FILE, "503"),
    ("promote", MODEL_FILE, "garbage"),
    ("verify", f"GET {FILES}?path=RUN/decision", "403"),
    ("compare", "GET /api/2.0/mlflow/model-versions/search?name=tiny", "empty"),
    ("rollback", MODEL_FILE, "half"),
]


@pytest.mark.parametrize(("name", "kind", "fault"), SAMPLE)
def test_a_sample(world: World, name: str, kind: str, fault: str) -> None:
    state, _ = COMMANDS[name]
    world.restore(state)
    before = world.picture()
    whole = Whole(0, before, before, [])
    assert judged(world, name, (kind, 1), fault, whole) == []
    assert world.proxy.hits
    assert world.picture() == before
