"""The one client of DVC: its commands, its configuration, its cache and its default remote.

Every command runs under a supervisor, so that nothing of it keeps running when we are killed or
cancelled: a late checkout of a dead intake would undo ours.
"""

import contextlib
import fcntl
import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from recctl import supervise
from recctl.errors import MAY_PASS, MayPass, UserError
from recctl.files import users_umask
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.redact import redact
from recctl.render.text import Say

_BUSY_SECONDS = 15.0
"""How long `output` waits for another DVC command, perhaps that of a killed process, to end."""
_STOPPED_SECONDS = 15.0
"""More than a supervisor needs to stop what it started."""


# Commands


class Answer(NamedTuple):
    """What a command printed, by stream, and its exit code."""

    code: int
    output: str
    messages: str


def output(layout: Layout, *arguments: str) -> str:
    """What a command prints on its standard output.

    Raises MayPass when another DVC command does not end within some seconds, UserError with DVC's
    own reason when the command fails.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while is_busy(answer := ask(layout, *arguments)):
        if time.monotonic() > deadline:
            raise MayPass("another DVC command runs in this project", "wait until it has ended")
        time.sleep(0.2)
    if answer.code != 0:
        reason = messages(answer) or "it gives no reason"
        fix = "free some disk space" if disk_is_full(reason) else "fix that"
        raise UserError(
            f"'dvc {' '.join(arguments)}' failed: {reason}", f"{fix} and run the command again"
        )
    return answer.output


def json_output(layout: Layout, *arguments: str) -> Any:
    """The JSON that a command prints; an empty object where it prints nothing. Raises as above."""
    text = output(layout, *arguments)
    return json.loads(text) if text.strip() else {}


def ask(layout: Layout, *arguments: str, seconds: float | None = None) -> Answer:
    """Run a command to its end; raises TimeoutError when that takes more than `seconds`."""
    with tempfile.TemporaryFile() as printed:
        code, lines = run(layout, list(arguments), separate=printed, seconds=seconds)
        printed.seek(0)
        return Answer(code, printed.read().decode(errors="replace"), "\n".join(lines))


def run(
    layout: Layout,
    arguments: list[str],
    on_line: Say = lambda line: None,
    *,
    lock: Lock | None = None,
    umask: int = -1,
    separate: IO[bytes] | None = None,
    seconds: float | None = None,
) -> tuple[int, list[str]]:
    """Run a command, passing on each line that it prints; its exit code and these lines.

    The file `separate`, where given, gets its standard output. With a `lock` the retraining that
    holds it lasts until everything started here has ended. When this is left by an exception,
    everything that was started is stopped first.
    """
    _forget_dead(layout.root / ".dvc" / "tmp")
    inherited = lock.fileno() if lock else None
    process = subprocess.Popen(
        supervise.command([sys.executable, "-m", "dvc", *arguments]),
        cwd=layout.root,
        env=environment(layout) | (lock.environment() if lock else {}),
        stdin=subprocess.PIPE,  # the supervisor stops the command when this pipe is closed
        stdout=separate or subprocess.PIPE,
        stderr=subprocess.PIPE if separate else subprocess.STDOUT,
        pass_fds=[] if inherited is None else [inherited],
        umask=umask,
    )
    stream = process.stderr if separate else process.stdout
    assert process.stdin is not None
    assert stream is not None
    lines: list[str] = []
    try:
        for line in _lines(process, stream, seconds):
            lines.append(line)
            on_line(line)
        return process.wait(), lines
    except BaseException:
        process.stdin.close()
        _drain(process, stream)
        raise
    finally:
        process.stdin.close()
        stream.close()


def environment(layout: Layout) -> dict[str, str]:
    """The environment of every DVC command.

    DVC unpickles what it finds in its site cache, and the default one, /var/tmp/dvc, is writable
    for all users: ours is private. A clone of this repository has the folder that .dvc/config
    names, for a `dvc` that a person calls. The stages call `recctl` by name, so that this
    interpreter's commands come first.
    """
    place = layout.root / ".dvc-site"
    if not place.is_dir():
        place = layout.state / "dvc-site"
    for folder in (layout.state, place, place / "repo"):  # DVC would make them writable for all
        folder.mkdir(mode=0o700, exist_ok=True)
    ignored = place / ".gitignore"
    if not ignored.exists():  # a project's own .gitignore may be older than this folder
        ignored.write_text("*\n", encoding="utf-8")
    commands = str(Path(sys.executable).parent)
    return {
        "DVC_SITE_CACHE_DIR": str(place),
        **os.environ,
        "PATH": os.pathsep.join([commands, os.environ.get("PATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "DVC_NO_ANALYTICS": "1",
    }


def _lines(
    process: "subprocess.Popen[bytes]", stream: IO[bytes], seconds: float | None
) -> Iterator[str]:
    """Each whole line; of a line that was overwritten, such as a progress bar, its last text."""
    rest = b""
    for chunk in _chunks(process, stream, seconds):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from map(_shown, whole)
    if rest:
        yield _shown(rest)


def _shown(line: bytes) -> str:
    return redact(line.decode(errors="replace").rstrip().rpartition("\r")[2].expandtabs())


def _chunks(
    process: "subprocess.Popen[bytes]", stream: IO[bytes], seconds: float | None
) -> Iterator[bytes]:
    """What is printed until the process ends; a daemon that it leaves behind is not waited for.

    Raises TimeoutError when the process runs for more than `seconds`.
    """
    deadline = time.monotonic() + seconds if seconds else None
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if selector.select(0 if ended else 0.2):
                chunk = os.read(stream.fileno(), 2**16)
                if not chunk:
                    return
                yield chunk
            elif ended:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"DVC did not end within {seconds:.0f} s")


def _drain(process: "subprocess.Popen[bytes]", stream: IO[bytes]) -> None:
    """Wait for a supervisor that was asked to stop; remaining output is discarded."""
    deadline = time.monotonic() + _STOPPED_SECONDS
    with contextlib.suppress(TimeoutError):
        for _ in _chunks(process, stream, _STOPPED_SECONDS):
            pass
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forget_dead(folder: Path) -> None:
    """Remove processes that are no DVC any more from DVC's list of those that write.

    DVC itself only checks whether a pid is in use. After a reboot, or in a container, the pid of a
    killed DVC soon is again, and the project would be "busy" until somebody deleted the list.
    """
    path, guard = folder / "rwlock", folder / "rwlock.lock"
    if not path.exists() or not guard.exists():
        return
    with guard.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            known = json.loads(path.read_text(encoding="utf-8"))
            entries = [*known.get("write", {}).values()]
            entries += [entry for some in known.get("read", {}).values() for entry in some]
            if entries and not any(_is_dvc(int(entry["pid"])) for entry in entries):
                path.unlink()
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return  # in use, or of an unknown format: DVC reports it


def _is_dvc(pid: int) -> bool:
    import psutil

    try:
        return any("dvc" in part for part in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


# Why a command failed


class Reason(NamedTuple):
    """Why a command failed, whether that may pass, and the stage that failed, if one did."""

    text: str
    may_pass: bool
    stage: str | None


def reason(code: int, lines: list[str]) -> Reason:
    """The reason that the lines of a command give, which ended with `code`."""
    error = next((line for line in reversed(lines) if line.startswith("ERROR: ")), "")
    before = lines[: lines.index(error)] if error else lines
    failed = re.match(r"ERROR: failed to reproduce '([^']*)'", error)
    stage = failed[1] if failed else None
    if passing := _passing(error, before):
        return Reason(passing, True, stage)
    message = next((line for line in reversed(before) if line.startswith("recctl: ")), "")
    text = message.removeprefix("recctl: ") or error.removeprefix("ERROR: ") or f"exit code {code}"
    may_pass = error.endswith(f", exited with {MAY_PASS}")
    a_stages_own = not may_pass and not message and "failed to run" in error
    if a_stages_own and before and not before[-1].startswith("> "):
        text = f"{before[-1]} ({text})"  # mostly the last line of a traceback
    return Reason(text, may_pass, stage)


def failure(what: str, code: int, lines: list[str]) -> UserError:
    """The error for a command that ended with `code`: MayPass or UserError."""
    text, may_pass, _ = reason(code, lines)
    return (MayPass if may_pass else UserError)(f"{what}: {text}")


def messages(answer: Answer) -> str:
    """The reason of a failed command in one line, without DVC's general advice."""
    text = answer.messages.partition("Having any troubles?")[0]
    return " ".join(text.split()).removeprefix("ERROR: ").removeprefix("unexpected error - ")


def is_busy(answer: Answer) -> bool:
    """Whether a command failed because another one runs in this project."""
    return answer.code != 0 and _BUSY.search(answer.messages) is not None


def disk_is_full(reason: str) -> bool:
    """Whether a command failed for lack of disk space."""
    return re.search(r"(?i)disk is full|no space left", reason) is not None


def lacks_files(text: str) -> bool:
    """Whether DVC says that neither its cache nor its remote has some files."""
    return "neither locally nor on remote" in text


def lacking_package(text: str) -> str | None:
    """What to install where DVC says that it lacks a plugin, such as "requires 'dvc-gs'"."""
    found = re.search(r"requires '(dvc-\w+)'", text)
    return found and ("recctl[s3]" if found[1] == "dvc-s3" else found[1])


_BUSY = re.compile(r"is busy, it is being blocked by|Unable to acquire lock")

_UNREACHED = re.compile(
    r"(?i)cannot connect|could ?n[o']t connect|failed to connect|unable to connect|connection"
    r" (?:refused|reset|aborted|lost|closed|timed out)|connect(?:ion)? ?timeout|timed out|timeout"
    r" error|unreachable|name or service not known|nodename nor servname|name resolution"
    r"|could not resolve host|temporarily unavailable|service unavailable|bad gateway"
    r"|server disconnected|slowdown|too many requests|\b(?:408|429|50[0234])\b[ :,)]"
)


def _passing(error: str, before: list[str]) -> str | None:
    """The reason of an error of DVC's own that may pass; None for any other error."""
    if _BUSY.search(error):
        return "DVC is busy: another command of it works in this project"
    if missing := re.search(r"missing data 'source': (.*)", error):
        # DVC says the same whether the remote is away or lacks the file
        if any(lacks_files(line) for line in before):
            why = "it is unreachable, or 'dvc push' was never run"
            return f"DVC's remote gave no {missing[1]}: {why}"
        return None
    if "failed to run: " not in error and _UNREACHED.search(error):
        return f"DVC's remote does not answer ({error.removeprefix('ERROR: ')})"
    return None


# Configuration and cache


def config(layout: Layout) -> Any:
    """DVC's configuration; UserError when it cannot be read."""
    from dvc.config import Config, ConfigError

    try:
        return Config(str(layout.root / ".dvc"))
    except ConfigError as error:
        raise UserError(
            f"DVC's configuration cannot be read ({' '.join(str(error).split())})",
            "fix .dvc/config",
        ) from None


def cache(layout: Layout) -> Path:
    """The folder of DVC's cache, as its configuration says."""
    return Path(config(layout)["cache"].get("dir") or layout.root / ".dvc" / "cache")


def is_whole(cache: Path, md5: str) -> bool:
    """Whether the cache holds a file, or a folder with all its files."""
    if not md5.endswith(".dir"):
        return stored(cache, md5).is_file()
    files = listed(cache, md5)
    return files is not None and all(stored(cache, digest).is_file() for digest in files.values())


def listed(cache: Path, md5: str) -> dict[str, str] | None:
    """The digest of each file of a folder, by its name; None where the cache lacks the list."""
    try:
        entries = json.loads(stored(cache, md5).read_text(encoding="utf-8"))
        return {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def stored(cache: Path, md5: str) -> Path:
    """The path in the cache of the content that has this digest."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


# The default remote


def remote(layout: Layout) -> tuple[str, str] | None:
    """The name and address of the default remote; None where there is none.

    Raises UserError when the configuration cannot be read or names a remote that it does not have.
    """
    settings = config(layout)
    name = settings["core"].get("remote")
    try:
        return (str(name), str(settings["remote"][name]["url"])) if name else None
    except KeyError as error:
        raise UserError(
            f"DVC's configuration names a default remote that it does not define ({error})",
            "fix .dvc/config: 'dvc remote list'",
        ) from None


def push(layout: Layout, on_line: Say, *targets: str, lock: Lock | None = None) -> None:
    """Push what the cache holds of this version, or of some targets of it, to the default remote.

    Raises MayPass or UserError when that fails.
    """
    code, lines = run(layout, ["push", *targets], on_line, lock=lock, umask=users_umask())
    if code != 0:
        # the last line is how many files failed; the reason comes file by file, and never if quiet
        why = [line for line in lines if line.startswith("ERROR: failed to transfer")]
        raise failure("'dvc push' failed", code, why[:1] or lines)
