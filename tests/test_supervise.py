"""The supervisor with real processes: nothing that it started outlives it, or us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lives import SECONDS, lives, wait_for
from recctl import supervise

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    " print(1, flush=True); time.sleep(600)"
)

# Not a shell's trap: an interrupt just before the shell starts its next command is lost on that.
POLITE = (
    "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]);"
    " print(1, flush=True); signal.sigwait([signal.SIGINT]); print(2); sys.exit(3)"
)


def number_in(path: Path) -> int:
    wait_for(path.name, lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


@pytest.fixture
def pids(tmp_path: Path) -> Iterator[Path]:
    """A folder in which commands note their numbers; what a failed test left is killed."""
    yield tmp_path
    for note in tmp_path.glob("*.pid"):
        if lives(number_in(note)):
            os.kill(number_in(note), signal.SIGKILL)


def start(folder: Path, script: str) -> "subprocess.Popen[bytes]":
    """A shell under supervision; `$pid` in the script is a folder for its notes."""
    command = supervise.command(["sh", "-c", f"pid={folder}; {script}"])
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_it_ends_as_the_command_does(tmp_path: Path, script: str, code: int) -> None:
    process = start(tmp_path, script)
    assert process.wait(SECONDS) == code


def test_a_command_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = supervise.command([str(tmp_path / "nothing")])
    assert subprocess.Popen(command, stdin=subprocess.PIPE).wait(SECONDS) == 127
    assert capfd.readouterr().err.startswith("recctl: ")


def test_it_is_a_module_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recctl.supervise", "sh", "-c", "exit 7"]
    assert subprocess.Popen(command, stdin=subprocess.PIPE).wait(SECONDS) == 7


def test_output_passes_through_and_the_input_stays_ours(tmp_path: Path) -> None:
    process = start(tmp_path, "cat; echo read; echo wrote")
    assert process.stdout is not None
    assert process.stdout.read() == b"read\nwrote\n"
    assert process.wait(SECONDS) == 0


def test_the_end_of_its_input_interrupts_the_command(pids: Path) -> None:
    process = start(pids, f"echo $$ > $pid/polite.pid; exec {sys.executable} -c '{POLITE}'")
    polite = number_in(pids / "polite.pid")
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"  # from now on it waits
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(SECONDS) == 3
    assert process.stdout.read() == b"2\n"
    assert not lives(polite)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_interrupts_the_command(pids: Path, number: signal.Signals) -> None:
    process = start(pids, "echo $$ > $pid/shell.pid; exec sleep 600")
    sleep = number_in(pids / "shell.pid")
    process.send_signal(number)
    assert process.wait(SECONDS) == 128 + signal.SIGINT
    assert not lives(sleep)


def test_a_command_that_ignores_the_interrupt_is_killed(pids: Path) -> None:
    process = start(pids, f"echo $$ > $pid/shell.pid; exec {sys.executable} -c '{STUBBORN}'")
    stubborn = number_in(pids / "shell.pid")
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"  # from now on it does
    began = time.monotonic()
    process.terminate()
    assert process.wait(SECONDS) == 128 + signal.SIGKILL
    assert time.monotonic() - began >= supervise.GRACE_SECONDS
    # a cancelled run is to end within ten seconds
    assert supervise.GRACE_SECONDS + supervise._KILLED_SECONDS < 10
    assert not lives(stubborn)


def test_children_that_outlive_the_command_are_swept_up(pids: Path) -> None:
    deep = "(sh -c 'sleep 600 & echo $! > $0/deep.pid; wait' $pid) &"
    noted = "until [ -s $pid/deep.pid ]; do sleep 0.01; done"
    process = start(pids, f"{deep} echo $! > $pid/background.pid; {noted}; exit 5")
    assert process.wait(SECONDS) == 5
    assert not lives(number_in(pids / "background.pid"))
    assert not lives(number_in(pids / "deep.pid"))


PARENT = """
import subprocess, sys, time
from recctl import supervise
subprocess.Popen(supervise.command(sys.argv[1:]), stdin=subprocess.PIPE)
if FORK:
    import os
    if os.fork() == 0:  # a child that keeps the other end of the supervisor's input open
        open(sys.argv[-1] + '/fork.pid', 'w').write(f'{os.getpid()}\\n')
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.parametrize("fork", [False, True])
def test_a_killed_parent_leaves_nothing(pids: Path, fork: bool) -> None:
    deep = "sh -c 'echo $$ > $0/deep.pid; sleep 600; exit 1' $0"
    shell = f"echo $$ > $0/shell.pid; {deep}; exit 1"
    script = f"FORK = {fork}\n{PARENT}"
    parent = subprocess.Popen([sys.executable, "-c", script, "sh", "-c", shell, str(pids)])
    running = [number_in(pids / "shell.pid"), number_in(pids / "deep.pid")]
    if fork:
        number_in(pids / "fork.pid")
    assert all(map(lives, running))
    parent.kill()
    parent.wait()
    wait_for("their end", lambda: not any(map(lives, running)))
