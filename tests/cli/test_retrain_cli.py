"""`recctl retrain` at the terminal: by whom, and who is asked for how long."""

import getpass
import io
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from recctl import lock
from recctl.cli.app import app
from recctl.cli.asking import _line_awaited
from recctl.cli.retrain import _approve
from recctl.intake.intake import Intake
from recctl.layout import Layout
from recctl.retraining.record import Record
from recctl.retraining.run import Result
from recctl.user_identity import user


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("retrain: {}\n")
    return Layout(tmp_path)


def nameless() -> str:
    raise KeyError("getpwuid(): uid not found: 4711")


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", nameless)
    assert user() == f"user {os.getuid()}"


def test_a_retraining_by_a_user_without_a_name_says_the_number(
    project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Intake(
        batches=[], known=[], refused=[], waiting=[], data_md5_before="", data_md5_after=""
    )
    seen: list[str] = []

    def carry_out(layout: Layout, *_: Any) -> Any:
        found = lock.holder(layout)
        assert found is not None
        seen.append(found.who)
        return Result(Record("key", "done", "rejected"), nothing, nothing_new=True)

    monkeypatch.chdir(project.root)
    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("recctl.retraining.run.retrain", carry_out)
    done = CliRunner().invoke(app, ["retrain"])
    assert done.exit_code == 0, done.output
    assert seen == [f"user {os.getuid()}'s 'recctl retrain'"]


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], object]]:
    """Types at the terminal that this process has for its stdin."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield partial(os.write, ours)
    os.close(ours)


@pytest.fixture
def approve(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], str | bool]:
    """What `recctl retrain` asks before a model serves, given the hours; the decision is blank."""
    monkeypatch.setattr("recctl.promotion.view.tables.decision", lambda body, console: None)
    return lambda hours: _approve(hours, False, {})


def test_an_unanswered_question_ends_after_its_hours(
    keyboard: Callable[[bytes], object],
    approve: Callable[[float], str | bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    keyboard(b"y")  # and no Enter: not an answer
    began = time.monotonic()
    assert approve(0.5 / 3600) is False
    assert 0.5 <= time.monotonic() - began < 10
    assert "no answer within" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "yes"), [(b"y\n", True), (b"n\n", False), (b"\n", False), (b"what\nYes\n", True)]
)
def test_a_question_is_answered_at_the_terminal(
    keyboard: Callable[[bytes], object],
    approve: Callable[[float], str | bool],
    typed: bytes,
    yes: bool,
) -> None:
    keyboard(typed)
    assert approve(1.0) == (getpass.getuser() if yes else False)


def test_the_end_of_input_is_no_answer(
    keyboard: Callable[[bytes], object], approve: Callable[[float], str | bool]
) -> None:
    keyboard(b"\x04")
    with pytest.raises(typer.Abort):
        approve(1.0)


def test_a_signal_just_before_the_wait_ends_it(
    keyboard: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `input` sleeps through: a signal is noted, and then the wait begins."""
    waited, ready = select.select, []

    def watched(*arguments: Any) -> Any:
        ready.append(waited(*arguments))
        return ready[-1]

    monkeypatch.setattr(select, "select", watched)
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with _line_awaited() as came:
            signal.raise_signal(signal.SIGINT)
            assert not came(time.monotonic() + 0.1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ready[0][0] != []


def test_a_pipe_is_read_without_a_limit(
    monkeypatch: pytest.MonkeyPatch, approve: Callable[[float], str | bool]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert approve(1e-9) == getpass.getuser()
