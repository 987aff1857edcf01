"""The edge of the command line: exit codes, and how much a person sees."""

import subprocess
import sys
from pathlib import Path

import pytest

RECCTL = Path(sys.executable).with_name("recctl")


def run_with(statement: str) -> "subprocess.CompletedProcess[str]":
    """`recctl boom`, a command of the real application that executes the statement."""
    script = f"""
import errno, sys, typer
from recctl.cli import main
from recctl.cli.app import app
from recctl.errors import UserError

@app.command()
def boom() -> None:
    {statement}

sys.argv = ["recctl", "boom"]
main()
"""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


def test_a_users_mistake_is_one_line_and_exit_code_2() -> None:
    done = run_with("raise UserError('no file x.csv', 'give\\n  an existing one')")
    assert done.returncode == 2
    assert done.stderr == "recctl: no file x.csv; give an existing one\n"
    assert done.stdout == ""


def test_a_full_disk_is_one_line_and_exit_code_2() -> None:
    done = run_with("raise OSError(errno.ENOSPC, 'No space left on device', '/data/out.npy')")
    assert done.returncode == 2
    assert done.stderr == (
        "recctl: No space left on device at /data/out.npy; "
        "free some disk space and run the command again\n"
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [("EACCES", "permissions"), ("EROFS", "read-only"), ("EDQUOT", "quota")],
)
def test_other_circumstances_are_one_line(name: str, says: str) -> None:
    done = run_with(f"raise OSError(errno.{name}, 'refused', 'some/path')")
    assert done.returncode == 2
    assert says in done.stderr
    assert "some/path" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    done = run_with("raise RuntimeError('ours')")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "RuntimeError: ours" in done.stderr


def test_an_unforeseen_system_error_keeps_its_traceback() -> None:
    done = run_with("raise OSError(errno.EBADF, 'ours too')")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_an_interrupt_is_one_line_and_exit_code_130() -> None:
    done = run_with("raise KeyboardInterrupt")
    assert done.returncode == 130
    assert done.stderr == "recctl: interrupted\n"


def test_an_exit_code_of_a_command_is_kept() -> None:
    assert run_with("raise typer.Exit(2)").returncode == 2
    assert run_with("pass").returncode == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["doctor", "--nonsense"]])
def test_a_misspelt_command_or_option_exits_with_2(arguments: list[str]) -> None:
    done = subprocess.run([RECCTL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_of_a_project_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [RECCTL, "stage", "ingest"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no recctl project" in done.stderr
    assert done.stderr.count("\n") == 1


def test_version() -> None:
    done = subprocess.run([RECCTL, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("recctl ")


def test_telemetry_is_off_in_every_command_unless_the_user_set_it() -> None:
    names = ("MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED", "DO_NOT_TRACK")
    done = run_with(f"import os; print(*(os.environ[name] for name in {names!r}))")
    assert done.stdout.split() == ["true", "false", "true"]
