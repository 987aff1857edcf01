"""The project's lock between real processes."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import zc.lockfile
from hypothesis import given
from hypothesis import strategies as st

from lives import wait_for
from recctl import lock
from recctl.errors import MayPass
from recctl.layout import Layout

RECCTL = Path(sys.executable).with_name("recctl")
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("{}\n")
    return Layout(tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Start a function in a separate process, which the test's end kills."""
    started: list[BaseProcess] = []

    def start(function: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = SPAWN.Process(target=function, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def hold(layout: Layout, doing: str) -> None:
    """Hold the project until killed, or until a file `release` is there."""
    with lock.held(layout, "the night's flow") as mine:
        mine.doing(doing)
        (layout.root / "held").touch()
        while not (layout.root / "release").exists():
            time.sleep(0.02)


def run_stage(layout: Layout, name: str) -> None:
    with lock.stage(layout, name):
        (layout.root / "held").touch()
        time.sleep(600)


def who(layout: Layout) -> str:
    found = lock.holder(layout)
    assert found is not None
    return found.who


def test_a_free_project_has_no_holder_and_looking_leaves_no_file(project: Layout) -> None:
    assert lock.holder(project) is None
    assert not project.state.exists()


def test_who_holds_it_since_when_and_what_it_is_at(project: Layout) -> None:
    with lock.held(project, "the night's flow") as mine:
        found = lock.holder(project)
        assert found is not None
        assert (found.who, found.pid, found.doing) == ("the night's flow", os.getpid(), "")
        assert found.host == socket.gethostname()
        mine.doing("train")
        assert lock.holder(project) == lock.Holder(
            found.who, found.pid, found.host, found.since, "train"
        )
    assert lock.holder(project) is None


def test_the_error_of_the_second_names_the_first_and_how_to_wait(
    project: Layout, start: Callable[..., BaseProcess]
) -> None:
    first = start(hold, project, "train")
    wait_for("the holder", (project.root / "held").exists)
    with pytest.raises(lock.Busy) as refused, lock.held(project, "me"):
        pass
    assert refused.value.holder is not None
    assert isinstance(refused.value, MayPass)
    since = refused.value.holder.since
    assert str(refused.value) == (
        f"this project is being retrained by the night's flow (pid {first.pid} on "
        f"{socket.gethostname()}) since {since}, now at 'train'; wait with 'recctl wait', "
        "then run the command again"
    )


def test_it_is_had_once_the_first_has_let_go(
    project: Layout, start: Callable[..., BaseProcess]
) -> None:
    start(hold, project, "train")
    wait_for("the holder", (project.root / "held").exists)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        (project.root / "release").touch()

    with lock.held(project, "me", wait=20, say=say):
        assert who(project) == "me"
    assert len(said) == 1
    assert said[0].startswith("waiting for the night's flow (pid ")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_holder_holds_nothing(
    project: Layout, start: Callable[..., BaseProcess], number: signal.Signals
) -> None:
    first = start(hold, project, "train")
    wait_for("the holder", (project.root / "held").exists)
    assert first.pid is not None
    os.kill(first.pid, number)
    first.join()
    assert lock.holder(project) is None
    with lock.held(project, "me"):
        assert who(project) == "me"


def test_what_a_dead_holder_wrote_is_not_believed(project: Layout) -> None:
    """Not even with the number of a process that lives: the system's lock decides."""
    project.state.mkdir()
    words = {"who": "a ghost", "pid": os.getpid(), "host": "here", "since": "long", "doing": ""}
    file = project.state / "retrain.lock"
    file.write_text(json.dumps({**words, "token": "t"}) + "\n")
    assert lock.holder(project) is None
    with lock.held(project, "me"):
        assert "ghost" not in file.read_text()


def test_what_is_half_written_is_another_process(project: Layout) -> None:
    file = project.state / "retrain.lock"
    with lock.held(project, "me"):
        file.write_text('{"who": "m')
        assert who(project) == "another process"


@given(st.text(max_size=200), st.text(max_size=200))
def test_words_are_kept_whatever_they_are_and_however_long_the_former_were(
    tmp_path_factory: pytest.TempPathFactory, who: str, doing: str
) -> None:
    layout = Layout(tmp_path_factory.getbasetemp() / "words")
    with lock.held(layout, who) as mine:
        mine.doing("x" * 300)
        mine.doing(doing)
        found = lock.holder(layout)
    assert found is not None
    assert (found.who, found.doing) == (who, doing)


def contend(layout: Layout, name: str, rounds: int, together: Any, failures: Any) -> None:
    """Enter many times; count who else is inside."""
    inside = layout.root / "inside"
    together.wait()
    for _ in range(rounds):
        with lock.held(layout, name, wait=60):
            try:
                file = os.open(inside, os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                failures.put(name)
                return
            time.sleep(0.005)
            os.close(file)
            inside.unlink()
    (layout.root / f"done-{name}").touch()


def test_two_contenders_are_never_both_inside(
    project: Layout, start: Callable[..., BaseProcess]
) -> None:
    failures, together = SPAWN.Queue(), SPAWN.Barrier(2)
    both = [start(contend, project, name, 20, together, failures) for name in ("one", "two")]
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert failures.empty()
    assert (project.root / "done-one").exists()
    assert (project.root / "done-two").exists()


def test_reading_the_holder_refuses_no_other_process(project: Layout) -> None:
    """Those who only look take the lock for an instant; who tries then gets it all the same."""
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            lock.holder(project)

    project.state.mkdir()
    (project.state / "retrain.lock").touch()
    (project.state / "stage.lock").touch()
    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(50):
            with lock.held(project, "me"):
                pass
            with lock.stage(project, "train"):
                pass
    finally:
        stop.set()
        for looker in lookers:
            looker.join()


# Stages


def test_a_retraining_waits_for_a_persons_stage(
    project: Layout, start: Callable[..., BaseProcess]
) -> None:
    person = start(run_stage, project, "train")
    wait_for("the holder", (project.root / "held").exists)
    with (
        pytest.raises(lock.Busy, match=r"'dvc repro' or .* now at 'train'"),
        lock.held(project, "me", wait=0.3),
    ):
        pass
    person.kill()
    with lock.held(project, "me", wait=20):
        pass


def test_a_persons_stage_is_refused_during_a_retraining(project: Layout) -> None:
    with (
        lock.held(project, "the night's flow"),
        pytest.raises(lock.Busy, match="the night's flow"),
        lock.stage(project, "train"),
    ):
        pass


def test_what_a_retraining_started_is_part_of_it(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock.held(project, "the night's flow") as mine:
        monkeypatch.setenv(*next(iter(mine.environment().items())))
        with lock.held(project, "its step") as again:
            assert again.fileno() is None
            assert again.environment() == mine.environment()
            again.doing("nothing that counts")
        with lock.stage(project, "train"):
            found = lock.holder(project)
        assert found is not None
        assert (found.who, found.doing) == ("the night's flow", "")


def test_the_orphan_of_a_dead_retraining_is_a_stranger(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock.held(project, "the dead") as dead:
        monkeypatch.setenv(*next(iter(dead.environment().items())))
        words = (project.state / "retrain.lock").read_text()
    (project.state / "retrain.lock").write_text(words)  # as a killed holder leaves it
    with lock.held(project, "the next") as own:
        assert own.fileno() is not None
        with pytest.raises(lock.Busy, match="the next"), lock.stage(project, "train"):
            pass


def test_the_token_of_another_project_is_worth_nothing(
    project: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Layout(tmp_path / "other")
    with lock.held(other, "its flow") as theirs, lock.held(project, "our flow"):
        monkeypatch.setenv(*next(iter(theirs.environment().items())))
        with pytest.raises(lock.Busy, match="our flow"), lock.held(project, "me"):
            pass


def test_a_training_that_lost_everything_above_it_still_counts(
    project: Layout, start: Callable[..., BaseProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock.held(project, "the night's flow") as mine:
        monkeypatch.setenv(*next(iter(mine.environment().items())))
        training = start(run_stage, project, "train")
        wait_for("the holder", (project.root / "held").exists)
    monkeypatch.delenv(lock.VARIABLE)
    with pytest.raises(lock.Busy, match="a stage of the night's flow"), lock.held(project, "me"):
        pass
    training.kill()
    with lock.held(project, "me", wait=20):
        pass


# Inheritance


def test_who_inherited_the_lock_holds_it_on(project: Layout) -> None:
    with lock.held(project, "the night's flow") as mine:
        file = mine.fileno()
        assert file is not None
        heir = subprocess.Popen(["sleep", "600"], pass_fds=[file])
    try:
        assert lock.holder(project) is not None
        with pytest.raises(lock.Busy, match="another process"), lock.held(project, "me"):
            pass
    finally:
        heir.kill()
        heir.wait()
    assert lock.holder(project) is None


def test_other_children_do_not_inherit_it(project: Layout) -> None:
    with lock.held(project, "the night's flow"):
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        assert lock.holder(project) is None
    finally:
        child.kill()
        child.wait()


# DVC


def test_a_command_of_dvc_counts_and_what_it_left_does_not(project: Layout) -> None:
    folder = project.root / ".dvc" / "tmp"
    folder.mkdir(parents=True)
    theirs = zc.lockfile.LockFile(str(folder / "lock"))
    found = lock.holder(project)
    assert found is not None
    assert (found.who, found.pid) == ("a command of DVC", os.getpid())
    with (
        pytest.raises(lock.Busy, match="in use by a command of DVC"),
        lock.held(project, "me", wait=0.3),
    ):
        pass
    theirs.close()
    with lock.held(project, "me"):
        pass


# recctl wait


def recctl_wait(layout: Layout, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [RECCTL, "wait", *options], cwd=layout.root, capture_output=True, text=True, check=False
    )


def test_wait_on_a_free_project_is_over_at_once(project: Layout) -> None:
    done = recctl_wait(project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_wait_says_who_and_ends_when_it_is_free(project: Layout) -> None:
    with lock.held(project, "the night's flow"):
        waiting = subprocess.Popen(
            [RECCTL, "wait"], cwd=project.root, stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith("waiting for the night's flow (pid ")
        assert waiting.poll() is None
    assert waiting.wait(20) == 0


def test_wait_gives_up_after_its_timeout(project: Layout) -> None:
    with lock.held(project, "the night's flow"):
        done = recctl_wait(project, "--timeout", "0.3")
    assert done.returncode == 2
    assert done.stderr.startswith("recctl: this project is being retrained by the night's flow")
