"""Ends, or hinders, a retraining at any of its steps; a program that the tests beside it run.

    python faults.py FOLDER SCENARIO:WAY[:EVERY[:FIRST]] ...

prepares a project in FOLDER with a champion and two dropped files, lists the steps of the
scenario's retraining and then, for every moment of every step (each EVERY-th from FIRST on),
retrains in a separate process that meets the fault there, and again in another one that does not;
before every third of those one more file is dropped. A line of JSON per moment goes to stdout, with
what is wrong then. WAY is the fault:

killed    SIGKILL before the step, and for a child process also right after it was started
full      from this step on no file or folder can be made or brought to disk
child     from this step on every child process that writes (DVC, git) fails
broken    only this child process fails
silent    this one writing request to MLflow gets no answer
away      nor does any request after it
remote, git, mlflow
          DVC's remote, git's index or MLflow's server are out of reach for the whole run: one
          moment only
race      no fault: two retrainings are started at once, EVERY times; a line per round

    python faults.py flow PROJECT

runs the flow of flows/retrain.py once, with the stages of `small_project`; its training begins when
there is a file `go` in the project.

Nothing in recctl knows of this: the calls that change files are seen by an audit hook, child
processes and requests to MLflow are wrapped from the outside. What happens between steps changes
nothing that lasts, so the moment after a step is the moment before the next one.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pytest
import small_project as small
from deaths import READS, draw_nothing, unanswered

import programs
from programs import Found, Line, Work, apart, must
from recctl import errors, lock, pipeline
from recctl.errors import MayPass, UserError
from recctl.intake import sync
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger import log
from recctl.promotion.verify import verify
from recctl.promotion.view import plots
from recctl.retraining import key, record
from recctl.retraining.run import Hooks
from recctl.retraining.run import retrain as carry_out
from recctl.tracking import server

SCENARIOS = {"promoted": ("item-knn", "markov"), "rejected": ("markov", "popularity")}
"""What serves, and what the retraining trains; its ending is the scenario's name."""
DROPPED = [(10, 11), (11, 12)]
ONE_MORE = (12, 13)
WRITING = {"add", "commit", "push", "pull", "checkout", "repro", "fetch", "rebase"}
"""Commands of git and DVC that change something."""

Wrong = list[str]


# --- the steps


@dataclasses.dataclass
class Steps:
    """Counts steps, and does its worst at one moment of one of them."""

    way: str
    root: Path
    at: int
    """From 1; 0 hinders nothing."""
    moment: str = "before"
    """`before`, `within` (a child process was started) or `after`."""
    names: list[tuple[str, bool]] = dataclasses.field(default_factory=list)
    """Of the steps taken, each with whether there is a moment within."""

    def file(self, event: str, path: Path) -> None:
        """A file is about to be changed."""
        kind = event.removeprefix("os.")
        there = os.path.lexists(self.root / path)
        if there if kind in ("mkdir", "open") else kind == "remove" and not there:
            return  # nothing will be changed
        last = self.names[-1][0] if self.names else ""
        again = kind != "rename" and last.startswith(f"{kind} {Path(*path.parts[:2])}")
        if self.way == "full" and kind in ("mkdir", "rename", "fsync", "open"):
            # of many alike in a row only the first counts
            if (len(self.names) >= self.at > 0) if again else self._count(f"{kind} {path}"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        elif self.way == "killed" and kind in ("mkdir", "rename", "remove") and not again:
            self._count(f"{kind} {path}")

    def child(self, arguments: list[str]) -> list[str]:
        """A child process is about to be started; what is started for it."""
        if self.way not in ("killed", "child", "broken"):
            return arguments
        if self._count(" ".join(one for one in arguments if one in ("git", "dvc", *WRITING)), True):
            complaint = "echo 'ERROR: unexpected error - out of luck' >&2; exit 1"
            return ["sh", "-c", complaint]
        return arguments

    def started(self) -> None:
        """The child process of the last step runs."""
        if self.way == "killed" and self.moment == "within" and len(self.names) == self.at:
            kill()

    def request(self, name: str, call: Callable[[], Any]) -> Any:
        """A writing request to MLflow."""
        if self.way not in ("killed", "silent", "away"):
            return call()
        if self._count(name):
            if self.moment == "after":
                call()
            raise unanswered()
        return call()

    def read(self, call: Callable[[], Any]) -> Any:
        """A reading request to MLflow."""
        if self.way == "away" and len(self.names) >= self.at > 0:
            raise unanswered()
        return call()

    def finished(self) -> None:
        """The retraining is over."""
        if self.way == "killed" and self.moment == "after":
            kill()

    def _count(self, name: str, within: bool = False) -> bool:
        """Note a step; whether it fails."""
        self.names.append((name, within))
        number = len(self.names)
        if self.at == 0 or number < self.at:
            return False
        if self.way == "killed":
            if number == self.at and self.moment == "before":
                kill()
            return False
        return number == self.at or self.way in ("full", "child", "away")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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
            return self._steps.request(name, call)

        return request


def watch(steps: Steps) -> None:
    """Let every step of this process be counted."""
    watch_files(steps)
    watch_children(steps)
    connect = server.connect

    def connected(layout: Layout) -> server.Tracking:
        found = connect(layout)
        client: Any = Watched(found.client, steps)
        return dataclasses.replace(found, client=client)

    server.connect = connected


def watch_files(steps: Steps) -> None:
    def at(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "open"):
            return
        if event == "open" and not (arguments[2] or 0) & os.O_CREAT:
            return
        if isinstance(arguments[0], str | os.PathLike):
            given = arguments[1] if event == "os.rename" else arguments[0]
            folder = arguments[-1] if event in ("os.remove", "os.rmdir") else -1
            note("os.remove" if event == "os.rmdir" else event, whole(given, folder))

    def whole(given: Any, folder: int) -> Path:
        return (opened(folder) if folder >= 0 else Path.cwd()) / os.fsdecode(given)

    def note(event: str, path: Path) -> None:
        if path.is_relative_to(steps.root):
            steps.file(event, path.relative_to(steps.root))

    real = os.fsync

    def fsync(file: int) -> None:
        note("os.fsync", opened(file))
        real(file)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(at)


def opened(file: int) -> Path:
    """What an open file is called."""
    return Path(f"/proc/self/fd/{file}").readlink()


def watch_children(steps: Steps) -> None:
    begin = subprocess.Popen.__init__

    def started(self: Any, args: Any, *more: Any, **options: Any) -> None:
        writes = isinstance(args, list) and {"git", "dvc"} & set(args) and WRITING & set(args)
        begin(self, steps.child(args) if writes else args, *more, **options)
        if writes:
            steps.started()

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]


@contextlib.contextmanager
def circumstance(layout: Layout, way: str) -> Iterator[None]:
    """Something is out of reach as long as the block lasts."""
    local = layout.root / ".dvc" / "config.local"
    index = layout.root / ".git" / "index.lock"
    if way == "remote":
        local.write_text("['remote \"store\"']\n    url = http://127.0.0.1:9/x\n")
    elif way == "git":
        index.touch()
    elif way == "mlflow":
        os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    try:
        yield
    finally:
        local.unlink(missing_ok=True)
        index.unlink(missing_ok=True)
        os.environ.pop("MLFLOW_TRACKING_URI", None)


# --- the project


def prepare(layout: Layout, scenario: str) -> None:
    """A project with a champion, two files to take in, and a person's work in the tree."""
    serving, trained = SCENARIOS[scenario]
    small.make(layout.root)
    remote = layout.root.parent / "remote"
    with (layout.root / ".dvc" / "config").open("a") as config:
        config.write(f"    remote = store\n['remote \"store\"']\n    url = {remote}\n")
    (layout.root / "notes.md").write_text("a thought\n")
    small.git(layout.root, "add", ".")
    small.git(layout.root, "commit", "--quiet", "--message", "second")
    small.settings(layout, train={"device": "cpu", "model": serving})
    assert retrain(layout)["ended"] == "promoted-v1"
    (layout.root / "notes.md").write_text("another thought\n")
    (layout.root / "staged.md").write_text("for a commit of mine\n")
    small.git(layout.root, "add", "staged.md")
    (layout.root / "staged.md").write_text("for a commit of mine, and more\n")
    (layout.root / "untracked.md").write_text("mine\n")
    small.settings(layout, train={"device": "cpu", "model": trained})
    for first, last in DROPPED:
        small.drop(layout, first, last)


MINE = """\
 M notes.md
 M params.yaml
AM staged.md
?? untracked.md
"""
"""What a person changed, as git shows it."""


def with_lock(layout: Layout, name: str, on_line: Callable[[str], None], **_: Any) -> Any:
    """A stage, and what DVC notes of it: another dvc.lock for another training."""
    done = small.stage(layout, name, on_line)
    if name == "evaluate":
        made = (layout.model / "model.json", layout.sequences / "report.json", layout.params)
        sha = hashlib.sha256(b"".join(path.read_bytes() for path in made if path.exists()))
        noted = f"# {sha.hexdigest()}\nschema: '2.0'\nstages: {{}}\n"
        (layout.root / "dvc.lock").write_text(noted)
    return done


def retrain(layout: Layout) -> dict[str, Any]:
    """One retraining, and in a word how it ended; what is no line for people is raised."""
    said: list[str] = []
    try:
        with lock.held(layout, "a test", wait=120) as held, alone(layout):
            result = carry_out(layout, held, Hooks(say=said.append))
    except UserError as error:
        kind = "MayPass" if isinstance(error, MayPass) else "UserError"
        return {"ended": f"{kind}: {error}", "said": said}
    except OSError as error:
        if errors.circumstance(error) is None:
            raise
        return {"ended": f"OSError: {error}", "said": said}
    return {"ended": result.name, "said": said}


@contextlib.contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Nobody else is in here; the guard is no lock of recctl's."""
    guard = os.open(layout.root.parent / "guard", os.O_CREAT | os.O_RDWR)
    fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield
    finally:
        os.close(guard)


# --- what must hold


def left(layout: Layout) -> dict[str, Any]:
    """What must hold right after a fault: who serves, and that no dropped file is lost."""
    registry = history.open_registry(layout)
    dropped = [f"days-{first}-{last}.csv" for first, last in DROPPED]
    incoming = layout.root / "incoming"
    lost = [
        name
        for name in dropped
        if not (incoming / name).exists() and not (incoming / "taken" / name).exists()
    ]
    return {"champion": registry.aliases().get("champion"), "lost": lost}


def picture(layout: Layout, last: int) -> dict[str, Any]:
    """What must hold in the end, when days up to `last` were brought; changes nothing."""
    registry = history.open_registry(layout)
    line = log.in_force(registry.entries())
    digests = [one.digest for one in registry.versions()]
    known = record.read(layout)
    wrong = [
        *events(layout, last),
        *files(layout, last),
        *decisions(layout, line),
        *in_git(layout),
        *in_remote(layout),
        *(
            f"verify: {one.name}: {one.detail}"
            for one in verify(registry, layout, everything=True)
            if not one.ok
        ),
    ]
    if len(set(digests)) != len(digests):
        wrong.append(f"a model was registered twice: {digests}")
    moves = [(entry.sets or {})["champion"] for entry in log.moving(line)]
    champion = registry.aliases().get("champion")
    if champion != moves[-1]:
        wrong.append(f"version {champion} serves, the log says {moves[-1]}")
    if known is None or known.state != "done" or known.key != key.of(layout).digest:
        wrong.append(f"not done: {known}")
    if holder := lock.holder(layout):
        wrong.append(f"held by {holder}")
    verdicts = [entry.content["verdict"] for entry in line]
    return {
        "wrong": wrong,
        "champion": champion,
        "versions": len(digests),
        "verdicts": verdicts,
        "commits": len(small.commits(layout)),
        "litter": litter(layout),
    }


def events(layout: Layout, last: int) -> Wrong:
    """Every interaction once, and none set aside."""
    import pyarrow.parquet as pq

    table = pq.read_table(layout.interactions / "interactions.parquet").to_pandas()
    times = table["timestamp"].astype("datetime64[us, UTC]").astype("int64")
    found = Counter(zip(table["user_id"], table["item_id"], times, strict=True))
    wanted = Counter(small.days(0, last).itertuples(index=False, name=None))
    aside = pq.read_metadata(layout.interactions / "quarantine.parquet").num_rows
    wrong = []
    if found != wanted:
        more, less = (found - wanted).total(), (wanted - found).total()
        wrong.append(f"{more} events too many, {less} are missing")
    if aside:
        wrong.append(f"{aside} events in quarantine")
    return wrong


def files(layout: Layout, last: int) -> Wrong:
    """Every dropped file was put away, and data/ holds nothing else."""
    wanted = [f"days-{day}-{day + 1}.csv" for day in range(DROPPED[0][0], last)]
    incoming = layout.root / "incoming"
    here = sorted(path.name for path in incoming.iterdir() if path.name != "taken")
    taken = sorted(path.name for path in (incoming / "taken").iterdir())
    wrong = []
    if here or taken != wanted:
        wrong.append(f"incoming/ holds {here}, taken/ {taken}")
    here = sorted(path.name for path in layout.data.rglob("*"))
    if len(here) != len(wanted) + 2:
        wrong.append(f"data/ holds {here}")
    return wrong


def decisions(layout: Layout, line: list[log.Entry]) -> Wrong:
    """One decision per key, and a commit for each, with the data it rests on."""
    wrong = []
    counted = [one for one in line if one.content.get("verdict") != "stale"]
    keys = Counter(one.content["key"] for one in counted)
    wrong += [f"decided {times} times on {one}" for one, times in keys.items() if times > 1]
    commits = small.git(layout.root, "log", "--format=%H").split()
    published: dict[int, str] = {}
    for commit in commits:
        text = small.git(layout.root, "show", "--no-patch", "--format=%B", commit)
        if found := re.search(r"^Decision: (\d+)$", text, re.MULTILINE):
            if int(found[1]) in published:
                wrong.append(f"decision {found[1]} has two commits")
            published[int(found[1])] = commit
            changed = small.git(layout.root, "show", "--name-only", "--format=", commit).split()
            if not set(changed) <= {"data.dvc", "dvc.lock"}:
                wrong.append(f"the commit of decision {found[1]} holds {changed}")
    for one in counted:
        if one.position not in published:
            wrong.append(f"decision {one.position} has no commit")
        elif one.content["lineage"]["data_md5"] not in at_commit(layout, published[one.position]):
            wrong.append(f"the commit of decision {one.position} holds other data")
    return wrong


def at_commit(layout: Layout, commit: str) -> str:
    return small.git(layout.root, "show", f"{commit}:data.dvc")


def in_git(layout: Layout) -> Wrong:
    """The last commit is today's, and a person's work is untouched."""
    status = small.git(layout.root, "status", "--porcelain")
    wrong = [] if status == MINE else [f"git status: {status}"]
    if small.git(layout.root, "show", ":staged.md") != "for a commit of mine\n":
        wrong.append("what was staged is another thing now")
    for name in ("data.dvc", "dvc.lock"):
        if small.git(layout.root, "show", f"HEAD:{name}") != (layout.root / name).read_text():
            wrong.append(f"git's last commit holds another {name}")
    return wrong


def in_remote(layout: Layout) -> Wrong:
    """Every version of data/ that the last commit names is in DVC's remote."""
    store = layout.root.parent / "remote" / "files" / "md5"

    def place(md5: str) -> Path:
        return store / md5[:2] / md5[2:]

    found = re.search(r"md5: (\w+\.dir)", at_commit(layout, "HEAD"))
    assert found is not None
    if not place(found[1]).exists():
        return [f"DVC's remote lacks {found[1]}"]
    listed = json.loads(place(found[1]).read_text())
    return [f"DVC's remote lacks {one}" for one in listed if not place(one["md5"]).exists()]


def litter(layout: Layout) -> list[str]:
    """Temporary files and folders of ours that are still there; they cost space only."""
    tops = [layout.root / name for name in ("data", "artifacts", ".recctl", "incoming")]
    found = [path.name for top in tops for path in top.rglob("*")]
    return sorted(name for name in found if re.match(r"\.|tables-|package-", name))


# --- for the tests


def outcomes(folders: pytest.TempPathFactory, work: Work) -> Found:
    """What this program finds; a process for each line of jobs."""
    return programs.found(__file__, folders, work)


def judged(whole: Line, ends: list[Line], champions: set[int]) -> None:
    """Nothing is lost right after the fault; the next run repairs all; the one after is idle."""
    assert whole["then"].get("wrong", []) == [], whole["then"]
    assert ends
    for end in ends:
        where = (
            f"{end['scenario']}, {end['way']} {end['moment']} step {end['step']} ({end['name']})"
        )
        assert end["left"]["champion"] in champions, where
        assert end["left"]["lost"] == [], where
        assert not end["again"]["ended"].startswith(ERRORS), (where, end["again"])
        assert end["then"]["wrong"] == [], (where, end["then"]["wrong"])
        assert end["idle"] == "nothing-new", (where, end["idle"])


ERRORS = ("UserError", "MayPass", "OSError")


# --- the program


def moments(names: list[tuple[str, bool]], way: str) -> Iterator[tuple[int, str]]:
    """Every moment that is another one than the one before it."""
    for number, (_, within) in enumerate(names, start=1):
        yield number, "before"
        if way == "killed" and within:
            yield number, "within"
        if way == "silent" or (way == "killed" and number == len(names)):
            yield number, "after"


def attempt(layout: Layout, steps: Steps) -> dict[str, Any]:
    """A retraining that meets the fault."""
    watch(steps)
    with circumstance(layout, steps.way):
        found = retrain(layout)
    steps.finished()
    return {**found, "steps": steps.names}


def aftermath(layout: Layout, last: int) -> dict[str, Any]:
    """What the next retraining does, the one after it, and what is there then."""
    if last == ONE_MORE[1]:
        small.drop(layout, *ONE_MORE)
    again = retrain(layout)
    return {"again": again, "then": picture(layout, last), "idle": retrain(layout)["ended"]}


def main(folder: Path, jobs: list[str]) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "RECCTL_LOCK"))]:
        del os.environ[name]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the stages print is not for the reader of our lines
    pipeline.stage = with_lock
    plots.intervals = draw_nothing  # what takes its time and is not at stake here
    for job in jobs:
        scenario, way, every, first = [*job.split(":"), "1", "1"][:4]
        go = race if way == "race" else run
        go(
            folder / f"{scenario}-{way}",
            scenario,
            way,
            int(every),
            int(first),
            out,
        )


def run(folder: Path, scenario: str, way: str, every: int, first: int, out: IO[str]) -> None:
    layout, backup = Layout(folder / "project"), folder / "backup"
    folder.mkdir()
    must(lambda: prepare(layout, scenario))
    code = key._code(layout)
    key._code = lambda layout: code  # whoever edits recctl meanwhile is no fault to test
    kept = [layout.root, folder / "remote"]
    for path in kept:
        shutil.copytree(path, backup / path.name)

    def fresh() -> None:
        for path in kept:
            shutil.rmtree(path)
            shutil.copytree(backup / path.name, path)
        must(lambda: sync.note(layout, sync.listing(layout)))  # the copies have other inodes

    def tell(**found: Any) -> None:
        print(json.dumps({"scenario": scenario, "way": way, **found}), file=out, flush=True)

    dropped = DROPPED[-1][1]
    fresh()
    dry = must(lambda: attempt(layout, Steps(way, layout.root, 0)))
    names = dry["steps"]
    chosen = [(1, "before")] if not names else list(moments(names, way))
    tell(step=0, dry=dry, moments=len(chosen), **must(lambda: {"then": whole(layout, names)}))
    for place, (number, moment) in enumerate(chosen):
        if place % every != first - 1:
            continue
        fresh()
        steps = Steps(way, layout.root, number, moment)
        code_, found = apart(lambda: attempt(layout, steps))  # noqa: B023
        last = ONE_MORE[1] if place % 3 == 2 else dropped
        name = names[number - 1][0] if names else way
        tell(
            step=number,
            name=name,
            moment=moment,
            code=code_,
            found=found,
            left=must(lambda: left(layout)),
            **must(lambda: aftermath(layout, last)),  # noqa: B023
        )


def race(folder: Path, scenario: str, way: str, rounds: int, first: int, out: IO[str]) -> None:
    """Two retrainings at once of each day that comes."""
    layout = Layout(folder / "project")
    folder.mkdir()
    must(lambda: prepare(layout, scenario))
    code = key._code(layout)
    key._code = lambda layout: code
    last = DROPPED[-1][1]
    for number in range(rounds):
        if number:
            small.drop(layout, last, last + 1)
            last += 1
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(apart, lambda: retrain(layout)) for _ in range(2)]
            ended = [one.result() for one in both]
        found = {"ended": ended, "then": must(lambda: picture(layout, last))}  # noqa: B023
        print(json.dumps({"scenario": scenario, "way": way, **found}), file=out, flush=True)


def flow(root: Path) -> None:
    """The flow in this process; its training waits for a sign."""
    import runpy

    def waiting(layout: Layout, name: str, on_line: Callable[[str], None], **_: Any) -> Any:
        if name == "train":
            (layout.root.parent / "at-train").touch()
            while not (layout.root.parent / "go").exists():
                time.sleep(0.05)
        return with_lock(layout, name, on_line)

    pipeline.stage = waiting
    flows = Path(__file__).parents[2] / "flows"
    sys.path.insert(0, str(flows))
    print(runpy.run_path(str(flows / "retrain.py"))["retrain"](root, 1.0, return_state=True))


def whole(layout: Layout, names: list[Any]) -> dict[str, Any]:
    """What is there after a retraining that met nothing; with a circumstance, nothing to see."""
    return picture(layout, DROPPED[-1][1]) if names else {}


if __name__ == "__main__":
    if sys.argv[1] == "flow":
        flow(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve(), sys.argv[2:])
