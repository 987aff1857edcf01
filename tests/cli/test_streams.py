"""The standard streams of a command: other codes, a reader that goes away, a closed stream."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECCTL = Path(sys.executable).with_name("recctl")
SAY = "from recctl.cli import streams; streams.prepare(); from recctl.render.text import echo; "


def python(script: str, **more: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {"PATH": os.environ["PATH"], **more}
    command = [sys.executable, "-c", SAY + script]
    return subprocess.run(command, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize(
    "locale",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "iso-8859-1"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_any_text_can_be_printed(locale: dict[str, str]) -> None:
    done = python(f"name = {'журнал ─'!a}; echo(name); echo(name, err=True)", **locale)
    assert done.returncode == 0, done.stderr
    for said in (done.stdout, done.stderr):
        assert said.startswith(("журнал".encode(), rb"\u0436\u0443"))


@pytest.mark.parametrize("printing", ["echo('x')", "print('x')"])
def test_a_reader_that_went_away_ends_nothing(printing: str) -> None:
    """The command runs to its end without a reader."""
    script = f"import os; [{printing} for _ in range(10**5)]; os.write(2, b'done')"
    command = [sys.executable, "-c", SAY + script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b"done"
    assert process.returncode == 0


def test_a_closed_stream_is_no_file_of_ours(tmp_path: Path) -> None:
    """A file opened later does not get the number 1 and what is printed with it."""
    script = f"import os; open({str(tmp_path / 'file')!r}, 'w').write('mine'); echo('said'); "
    command = [sys.executable, "-c", SAY + script + "os.system('echo child')"]
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *command], check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_an_argument_that_is_no_text_ends_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [RECCTL, "recommend", b"--user", b"caf\xe9"], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


def test_an_argument_in_utf8_is_read_in_any_locale() -> None:
    script = "import sys; echo(ascii(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", SAY + script, "журнал"],
        env={"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().strip() == ascii("журнал")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_ends_in_one_line() -> None:
    for streams in (">/dev/full", ">/dev/full 2>/dev/full"):
        command = f"{RECCTL} --help {streams}"
        done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, check=False)
        assert done.returncode == 2
        assert done.stderr in (
            b"",
            b"recctl: No space left on device; free some disk space and run the command again\n",
        )
