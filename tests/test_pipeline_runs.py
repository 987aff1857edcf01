"""DVC run for real, stage by stage: what came of it, why not, and what is left when we die."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import zc.lockfile

from lives import SECONDS, lives, wait_for
from recctl import dvc as dvc_client
from recctl import lock, pipeline
from recctl.errors import MayPass, UserError
from recctl.layout import Layout
from recctl.pipeline import StageFailed, StageMayPass


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty DVC repository to copy."""
    folder = tmp_path_factory.mktemp("dvc")
    dvc(folder, "init", "-q", "--no-scm")
    dvc(folder, "config", "core.analytics", "false")
    dvc(folder, "remote", "add", "-q", "-d", "here", str(tmp_path_factory.mktemp("remote")))
    return folder


def dvc(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip


Make = Callable[..., Layout]


@pytest.fixture
def make(repository: Path, tmp_path: Path) -> Make:
    """A project of shell commands: each stage writes the file of its name, in the order given."""

    def make(**commands: str) -> Layout:
        root = tmp_path / "project"
        shutil.copytree(repository, root)
        stages, before = {}, "params.yaml"
        for name, command in commands.items():
            stages[name] = {"cmd": command, "deps": [before], "outs": [name]}
            before = name
        (root / "params.yaml").write_text("{}\n")
        (root / "dvc.yaml").write_text(json.dumps({"stages": stages}))
        return Layout(root)

    return make


def quiet(line: str) -> None:
    pass


# What came of it


def test_a_stage_ran_was_right_already_or_came_from_the_cache(make: Make) -> None:
    layout = make(one="echo 1 > one", two="echo 2 > two")
    assert pipeline.stage(layout, "one", quiet).outcome == "ran"
    assert not (layout.root / "two").exists()
    assert pipeline.stage(layout, "two", quiet).outcome == "ran"
    again = pipeline.stage(layout, "one", quiet)
    assert (again.outcome, again.ran) == ("unchanged", False)
    (layout.root / "one").unlink()
    (layout.root / "dvc.lock").unlink()
    assert pipeline.stage(layout, "one", quiet).outcome == "cached"
    assert (layout.root / "one").read_text() == "1\n"


def test_an_output_that_the_project_lacks_is_restored_from_cache_or_remote(make: Make) -> None:
    layout = make(one="echo 1 > one")
    output, seen = layout.root / "one", list[str]()
    pipeline.restore(layout, output, seen.append)  # no dvc.lock names it
    assert (output.exists(), seen) == (False, [])
    pipeline.stage(layout, "one", quiet)
    output.write_text("by hand\n")
    pipeline.restore(layout, output, seen.append)
    assert (output.read_text(), seen) == ("by hand\n", [])
    output.unlink()
    dvc_client.push(layout, quiet)
    shutil.rmtree(layout.root / ".dvc" / "cache")  # as in a new clone
    pipeline.restore(layout, output, seen.append)
    assert (output.read_text(), seen) == ("1\n", ["one is missing: restored"])
    output.unlink()
    dvc(layout.root, "remote", "remove", "here")
    pipeline.restore(layout, output, seen.append)
    assert output.read_text() == "1\n"


def test_an_output_that_dvc_lacks_is_reported(make: Make) -> None:
    layout = make(one="echo never pushed > one")
    pipeline.stage(layout, "one", quiet)
    (layout.root / "one").unlink()
    shutil.rmtree(layout.root / ".dvc" / "cache")
    seen: list[str] = []
    pipeline.restore(layout, layout.root / "one", seen.append)
    assert seen == ["one is missing: 'dvc pull' gave no copy of it"]
    theirs = zc.lockfile.LockFile(str(layout.root / ".dvc" / "tmp" / "lock"))
    try:
        with pytest.raises(MayPass, match=r"^'dvc pull one' failed: DVC is busy"):
            pipeline.restore(layout, layout.root / "one", quiet)
    finally:
        theirs.close()


def test_of_a_bar_only_what_stays_is_handed_on(make: Make) -> None:
    seen: list[str] = []
    bar = r"printf '10\045\r50\045\r100\045\n'; printf 'no newline' | tee one"
    pipeline.stage(make(one=bar), "one", seen.append)
    assert "100%" in seen
    assert any(line.startswith("no newline") for line in seen)
    assert not any("10%" in line or "\r" in line for line in seen)


def test_no_secret_of_an_address_is_handed_on(make: Make) -> None:
    error = "no answer from s3://ann:s3cret@store.example/x?token=s3cret"
    layout = make(one=f"echo '{error}' && echo 'recctl: {error}' && exit 2")
    lines: list[str] = []
    with pytest.raises(StageFailed, match=r"no answer from s3://store.example/x") as caught:
        pipeline.stage(layout, "one", lines.append)
    assert "no answer from s3://store.example/x?token=***" in lines
    # of the command itself DVC prints what dvc.yaml, which is in git, has
    assert "s3cret" not in str(caught.value)


def test_lines_come_as_they_are_printed(make: Make) -> None:
    """The stage continues only when its first line was seen; its output is no terminal."""
    layout = make(one=f"{sys.executable} show.py; echo 1 > one")
    script = "import os, time\nprint(1)\nwhile not os.path.exists('seen'): time.sleep(0.01)\n"
    (layout.root / "show.py").write_text(script)
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        if line == "1":
            (layout.root / "seen").touch()

    pipeline.stage(layout, "one", on_line)
    assert "1" in seen


# Why not


def test_the_reason_is_what_the_stage_said_last(make: Make) -> None:
    failing = "echo 'recctl: a note'; echo 'recctl: bad rows: 7; fix them'; echo after; exit 2"
    with pytest.raises(StageFailed) as failed:
        pipeline.stage(make(one=failing), "one", quiet)
    assert failed.value.stage == "one"
    assert failed.value.reason == "bad rows: 7; fix them"
    assert str(failed.value) == "stage 'one' failed: bad rows: 7; fix them"
    assert not isinstance(failed.value, MayPass)


def test_it_names_the_stage_that_failed_not_the_one_wanted(make: Make) -> None:
    with pytest.raises(StageFailed) as failed:
        pipeline.stage(make(one="exit 3", two="echo 2 > two"), "two", quiet)
    assert failed.value.stage == "one"
    assert "exited with 3" in failed.value.reason


def test_of_a_defect_the_last_line_of_its_traceback_is_the_reason(make: Make) -> None:
    with pytest.raises(StageFailed, match=r"ZeroDivisionError: .*exited with 1"):
        pipeline.stage(make(one=f"{sys.executable} -c '1 / 0'"), "one", quiet)


def test_a_stage_that_is_not_there(make: Make) -> None:
    with pytest.raises(StageFailed, match="'nothing'"):
        pipeline.stage(make(one="echo 1 > one"), "nothing", quiet)


# What may pass


def test_exit_code_75_may_pass(make: Make) -> None:
    with pytest.raises(StageMayPass, match="'one' failed: MLflow is away") as failed:
        pipeline.stage(make(one="echo 'recctl: MLflow is away'; exit 75"), "one", quiet)
    assert isinstance(failed.value, UserError)
    assert failed.value.stage == "one"


def test_a_busy_dvc_may_pass(make: Make) -> None:
    layout = make(one="echo 1 > one")
    (layout.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    theirs = zc.lockfile.LockFile(str(layout.root / ".dvc" / "tmp" / "lock"))
    try:
        with pytest.raises(StageMayPass, match="DVC is busy"):
            pipeline.stage(layout, "one", quiet)
    finally:
        theirs.close()


def blocked_by(layout: Layout, pid: int) -> None:
    """The list of writers as a process of that number leaves it when it is killed."""
    folder = layout.root / ".dvc" / "tmp"
    folder.mkdir(exist_ok=True)
    (folder / "rwlock.lock").touch()
    entry = {"pid": pid, "cmd": "dvc repro"}
    known = {"write": {str(layout.root / "one"): entry}, "read": {}}
    (folder / "rwlock").write_text(json.dumps(known))


def test_a_dvc_that_writes_makes_it_busy(make: Make) -> None:
    layout = make(one="echo 1 > one")
    other = subprocess.Popen(["sh", "-c", "sleep 600; :", "dvc repro"], start_new_session=True)
    try:
        words = Path(f"/proc/{other.pid}/cmdline")  # empty for a moment after it was started
        wait_for("its command line", lambda: "dvc" in words.read_text())
        blocked_by(layout, other.pid)
        with pytest.raises(StageMayPass, match="DVC is busy"):
            pipeline.stage(layout, "one", quiet)
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()


def test_a_killed_dvc_whose_number_another_process_has_does_not(make: Make) -> None:
    layout = make(one="echo 1 > one")
    other = subprocess.Popen(["sleep", "600"])
    try:
        blocked_by(layout, other.pid)
        assert "is busy" in dvc(layout.root, "repro").stderr  # DVC's own answer
        assert pipeline.stage(layout, "one", quiet).ran
    finally:
        other.kill()
        other.wait()


class Unavailable(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def remotes() -> Iterator[dict[str, str]]:
    """Addresses of remotes that do not serve."""
    server = HTTPServer(("127.0.0.1", 0), Unavailable)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield {"refused": "http://127.0.0.1:9/x", "503": f"http://127.0.0.1:{server.server_port}/x"}
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", ["refused", "503"])
def test_a_remote_that_is_away_may_pass(make: Make, remotes: dict[str, str], kind: str) -> None:
    layout = make(one="cp log one")
    root = layout.root
    (root / "log").write_text("x\n")
    dvc(root, "add", "-q", "log")
    dvc(root, "remote", "add", "-q", "-d", "away", remotes[kind])
    shutil.rmtree(root / ".dvc" / "cache")
    (root / "log").unlink()
    document = json.loads((root / "dvc.yaml").read_text())
    document["stages"]["one"]["deps"] = ["log"]
    (root / "dvc.yaml").write_text(json.dumps(document))
    with pytest.raises(StageMayPass, match="remote gave no log"):
        pipeline.stage(layout, "one", quiet)


@pytest.mark.parametrize(
    "error",
    [
        "ERROR: unexpected error - Could not connect to the endpoint URL: https://s3.example/x",
        "ERROR: unexpected error - [Errno 111] Connection refused",
        "ERROR: unexpected error - [Errno -2] Name or service not known",
        "ERROR: unexpected error - An error occurred (503) when calling PutObject: SlowDown",
        "ERROR: failed to reproduce 'one': Cannot connect to host remote.example:443",
        "ERROR: failed to transfer 'ab' - 429, message='Too Many Requests'",
        "ERROR: unexpected error - An error occurred (408) when calling PutObject",
    ],
)
def test_what_dvc_says_of_remotes_that_do_not_answer(error: str) -> None:
    assert dvc_client.reason(255, ["before", error]).may_pass


@pytest.mark.parametrize(
    "error",
    [
        "ERROR: unexpected error - [Errno 28] No space left on device",
        "ERROR: unexpected error - Forbidden: An error occurred (403) when calling GetObject",
        "ERROR: failed to reproduce 'one': missing data 'source': log",
        "ERROR: failed to reproduce 'one': failed to run: wait for timed out, exited with 1",
        "ERROR: unexpected error - s3 is supported, but requires 'dvc-s3' to be installed",
    ],
)
def test_errors_that_do_not_pass(error: str) -> None:
    assert not dvc_client.reason(255, ["before", error]).may_pass


@pytest.mark.parametrize(
    ("kind", "inside", "code"),
    [("MayPass", True, 75), ("MayPass", False, 2), ("UserError", True, 2)],
)
def test_exit_codes_of_recctl(kind: str, inside: bool, code: int) -> None:
    script = f"""
import sys
from recctl import cli, errors
from recctl.cli.app import app

@app.command()
def boom() -> None:
    raise errors.{kind}("the server is away", "start it")

sys.argv = ["recctl", "boom"]
cli.main()
"""
    environment = {name: value for name, value in os.environ.items() if name != lock.VARIABLE}
    if inside:
        environment[lock.VARIABLE] = "token"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (code, "recctl: the server is away; start it\n")


# Who may run a stage


def test_the_error_of_a_persons_dvc_repro_names_the_holder_and_how_to_wait(make: Make) -> None:
    layout = make(one="recctl stage ingest")
    with lock.held(layout, "the night's flow") as mine:
        mine.doing("train")
        done = dvc(layout.root, "repro")
    assert done.returncode == 255
    assert "this project is being retrained by the night's flow (pid " in done.stderr
    assert "now at 'train'; wait with 'recctl wait', then run the command again" in done.stderr
    assert "exited with 2" in done.stderr


def test_a_stage_of_the_retraining_itself_runs(make: Make) -> None:
    """The real `recctl stage` goes past the lock, to the data that is not there."""
    layout = make(one="recctl stage ingest")
    with (
        lock.held(layout, "the night's flow") as mine,
        pytest.raises(StageFailed) as failed,
    ):
        pipeline.stage(layout, "one", quiet, lock=mine)
    assert "being retrained" not in failed.value.reason
    assert "params.yaml" in failed.value.reason


def test_those_who_look_see_the_stage(make: Make) -> None:
    layout = make(one="touch running; until [ -e go ]; do sleep 0.02; done; echo 1 > one")
    seen: list[str] = []

    def look() -> None:
        wait_for("the stage", (layout.root / "running").exists)
        found = lock.holder(layout)
        seen.append(found.doing if found else "nobody")
        (layout.root / "go").touch()

    looker = threading.Thread(target=look)
    looker.start()
    with lock.held(layout, "the night's flow") as mine:
        pipeline.stage(layout, "one", quiet, lock=mine)
    looker.join()
    assert seen == ["one"]


# What is left


PARENT = """
import signal
import sys
from pathlib import Path
from recctl import lock, pipeline
from recctl.layout import Layout

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below `make test &`
layout = Layout(Path(sys.argv[1]))
with lock.held(layout, "the night's flow") as mine:
    pipeline.stage(layout, "one", print, lock=mine)
"""

WRITES = "echo $$ > pid; trap 'sleep 1; exit 1' INT; while :; do date >> log; sleep 0.05; done"


def test_a_killed_parent_leaves_nothing_and_the_lock_until_then(make: Make) -> None:
    layout = make(one=WRITES)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(layout.root)])
    note = layout.root / "pid"
    wait_for("the stage", lambda: note.exists() and note.read_text().endswith("\n"))
    stage = int(note.read_text())
    wait_for("its log", (layout.root / "log").exists)
    parent.kill()
    parent.wait()
    while lives(stage):
        before = lock.holder(layout)  # it may die between the two looks, then it is asked again
        assert before is not None or not lives(stage)
        time.sleep(0.02)
    wait_for("the lock", lambda: lock.holder(layout) is None)
    size = (layout.root / "log").stat().st_size
    with lock.held(layout, "the next"):
        assert not lives(stage)
    assert (layout.root / "log").stat().st_size == size


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_gets_a_signal_leaves_nothing(make: Make, number: signal.Signals) -> None:
    layout = make(one=WRITES)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(layout.root)])
    note = layout.root / "pid"
    wait_for("the stage", lambda: note.exists() and note.read_text().endswith("\n"))
    parent.send_signal(number)
    wait_for("the lock", lambda: lock.holder(layout) is None)
    assert not lives(int(note.read_text()))
    parent.wait(SECONDS)


def test_an_interrupt_stops_the_stage_too(make: Make) -> None:
    layout = make(one="echo $$ > pid; echo started; sleep 600; echo 1 > one")

    def interrupt(line: str) -> None:
        if line == "started":
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pipeline.stage(layout, "one", interrupt)
    assert time.monotonic() - began < 60
    pid = int((layout.root / "pid").read_text())
    wait_for("the end of the stage", lambda: not lives(pid))


def test_a_cancel_stops_everything_first(make: Make) -> None:
    layout = make(
        one="echo $$ > pid; echo started; trap 'exit 1' INT; while :; do sleep 0.05; done"
    )

    def cancel(line: str) -> None:
        if line == "started":
            raise TimeoutError

    with lock.held(layout, "the night's flow") as mine:
        with pytest.raises(TimeoutError):
            pipeline.stage(layout, "one", cancel, lock=mine)
        assert not lives(int((layout.root / "pid").read_text()))
    with lock.held(layout, "the next"):
        pass


# Pushing


def test_a_push_follows_the_users_umask_and_to_a_remote_that_is_away_it_may_pass(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make(one="echo 1 > one")
    pipeline.stage(layout, "one", quiet)
    shared = layout.root.with_name("shared")  # with others
    local = layout.root / ".dvc" / "config.local"
    local.write_text(f"['remote \"here\"']\n    url = {shared}\n")
    monkeypatch.setenv("RECCTL_UMASK", "2")
    former = os.umask(0o077)
    try:
        dvc_client.push(layout, quiet)
    finally:
        os.umask(former)
    assert (shared / "files").stat().st_mode & 0o777 == 0o775
    local.unlink()
    dvc(layout.root, "remote", "modify", "here", "url", "http://127.0.0.1:9/x")
    with pytest.raises(MayPass, match=r"remote does not answer .*annot connect"):
        dvc_client.push(layout, quiet)
