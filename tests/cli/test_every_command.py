"""Every command under every kind of fault: one line, a documented exit code, no traceback.

The commands are those of the application, and the fault is raised where each first needs its
project; a command that no fault reaches fails the test.
"""

import errno
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from recctl import cli, scaffold
from recctl.cli.app import app
from recctl.layout import Layout
from recctl.render.console import Console


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The arguments of every command, with a value for each that it requires."""
    inner = getattr(command, "commands", None)
    if inner is None:
        required = [word for one in command.params if one.required for word in _words(one)]
        agreed = ["--yes" for one in command.params if one.name == "yes"]
        yield (*path, *required, *agreed)
    for name, one in (inner or {}).items():
        yield from commands(one, (*path, name))


def _words(parameter: Any) -> list[str]:
    value = "2024-01-01" if parameter.name in ("first", "last") else "1"
    return [parameter.opts[0], value] if parameter.param_type_name == "option" else [value]


COMMANDS = list(commands(typer.main.get_command(app)))


def _sqlalchemy() -> Exception:
    from sqlalchemy.exc import OperationalError

    return OperationalError("SELECT s3cret", {}, sqlite3.OperationalError("database is locked"))


def _duckdb(name: str) -> Callable[[], Exception]:
    def make() -> Exception:
        import duckdb

        error: Exception = getattr(duckdb, name)("IO Error: no page")
        return error

    return make


def _requests() -> Exception:
    import requests

    return requests.ConnectionError("no route to https://ann:s3cret@host/x")


def _decode() -> Exception:
    return UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def _caused() -> Exception:
    error = RuntimeError("a library's own")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "cache")
    return error


FAULTS: dict[str, tuple[Callable[[], BaseException], int, str]] = {
    **{
        name: (lambda name=name: OSError(getattr(errno, name), "x", "some/path"), 2, "some/path")
        for name in ("ENOSPC", "EIO", "EMFILE", "ESTALE", "EACCES", "EROFS", "ENOENT", "ENOMEM")
    },
    "MemoryError": (MemoryError, 2, "not enough memory"),
    "sqlite": (lambda: sqlite3.OperationalError("disk I/O error"), 2, "the database fails"),
    "sqlalchemy": (_sqlalchemy, 2, "the database fails"),
    "duckdb": (_duckdb("IOException"), 2, "DuckDB"),
    "duckdb memory": (_duckdb("OutOfMemoryException"), 2, "not enough memory"),
    "requests": (_requests, 2, "a network request failed"),
    "timeout": (lambda: TimeoutError("timed out"), 2, "a network request failed"),
    "recursion": (lambda: RecursionError("maximum recursion"), 2, "nested too deep"),
    "encoding": (_decode, 2, "not UTF-8"),
    "cut short": (lambda: EOFError("Compressed file ended"), 2, "damaged"),
    "wrapped": (_caused, 2, "No space left on device at cache"),
    "interrupt": (KeyboardInterrupt, 130, "interrupted"),
    "broken pipe": (lambda: BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, "network"),
}


def run(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the `recctl` command."""
    stdout, stderr = sys.stdout, sys.stderr
    monkeypatch.setattr(sys, "argv", ["recctl", *arguments])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    sys.stdout, sys.stderr = stdout, stderr
    return int(leaving.value.code or 0)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_fault_is_one_line(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for fault, (make, code, says) in FAULTS.items():

        def fail(*_: object, make: Callable[[], BaseException] = make, **__: object) -> None:
            raise make()

        monkeypatch.setattr(Layout, "find", fail)
        monkeypatch.setattr(scaffold, "create", fail)
        monkeypatch.setattr(Console, "print", fail)  # what needs no project prints something
        assert run(arguments, monkeypatch) == code, fault
        said = capsys.readouterr().err
        assert says in said, fault
        assert said.count("\n") == 1, fault
        assert "Traceback" not in said, fault
        assert "s3cret" not in said, fault


def test_every_command_was_walked() -> None:
    assert {command[0] for command in COMMANDS} > {"data", "stage", "models", "intake", "promote"}
    assert len(COMMANDS) > 25
