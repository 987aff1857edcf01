"""Running DVC, stage by stage, so that nothing of it is left behind whatever happens to us."""

import fcntl
import http.client
import json
import os
import re
import selectors
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recctl import supervise
from recctl.config import read_yaml
from recctl.data import versions
from recctl.errors import MayPass, UserError
from recctl.files import users_umask
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.redact import redact

MAY_PASS = 75
"""Exit code of a stage that met a circumstance which may pass (EX_TEMPFAIL)."""

OnLine = Callable[[str], None]
Outcome = Literal["ran", "cached", "unchanged"]
"""Its command ran; its outputs came from DVC's cache or remote; they were right already."""

_ANSWER_SECONDS = 10.0
"""For the server of a DVC remote to answer, before a retraining begins."""
_STOPPED_SECONDS = 15.0
"""More than a supervisor needs to stop what it started."""


@dataclass(frozen=True)
class StageRun:
    """How one stage came to be up to date."""

    name: str
    outcome: Outcome
    seconds: float

    @property
    def ran(self) -> bool:
        """Whether the stage's command ran."""
        return self.outcome == "ran"


class StageFailed(UserError):
    """A stage that ended with an error, or DVC itself; `stage` failed for `reason`."""

    def __init__(self, what: str, stage: str | None, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.stage = stage
        self.reason = reason


class StageMayPass(MayPass):
    """The same, for a circumstance that may pass: worth running again."""

    def __init__(self, what: str, stage: str | None, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.stage = stage
        self.reason = reason


def stage(layout: Layout, name: str, on_line: OnLine, *, lock: Lock | None = None) -> StageRun:
    """Bring one stage, and what it depends on, up to date; hands on each line that is printed.

    With the project's `lock` the stage is part of the retraining that holds it, which stays so
    until everything started here has ended. Raises StageFailed, or StageMayPass where DVC is busy,
    its remote does not answer or the stage said so.
    """
    began = time.monotonic()
    if lock is not None:
        lock.doing(name)
    code, lines = _repro(layout, [name], on_line, lock)
    if code != 0:
        raise _failure(f"stage '{name}' failed", code, lines, name)
    return StageRun(name, _outcome(name, lines), time.monotonic() - began)


def repro(layout: Layout, on_line: OnLine, *, lock: Lock | None = None) -> None:
    """Bring the whole pipeline up to date, handing on each line that is printed.

    Raises as `stage` does.
    """
    code, lines = _repro(layout, [], on_line, lock)
    if code != 0:
        what = f"dvc repro ended with exit code {code} in {layout.root}"
        raise _failure(what, code, lines, None)


def refill(layout: Layout, on_line: OnLine, *, lock: Lock | None = None) -> None:
    """Put outputs that DVC's cache lacks back into it, where they are here as dvc.lock names them.

    Without them there DVC would run their stages again. What dvc.lock does not name is left.
    """
    path = layout.root / "dvc.lock"
    document = read_yaml(path) if path.is_file() else None
    stages = document.get("stages") if isinstance(document, dict) else None
    cache = versions.cache(layout)
    for name, stage in (stages or {}).items():
        outs = {out["path"]: out["md5"] for out in stage.get("outs", []) if "md5" in out}
        here = all((layout.root / one).exists() for one in outs)
        if here and not all(versions.whole(cache, md5) for md5 in outs.values()):
            # without --force DVC takes nothing that is not as dvc.lock has it
            code, _ = _dvc(layout, ["commit", "--quiet", name], lambda line: None, lock)
            if code == 0:
                on_line(f"{name}: DVC's cache lacked its outputs; they are in there again")


def push(layout: Layout, on_line: OnLine, *targets: str, lock: Lock | None = None) -> None:
    """Bring what the cache holds of this version, or of some targets of it, to the default remote.

    Raises as `stage` does.
    """
    code, lines = _dvc(layout, ["push", *targets], on_line, lock, umask=users_umask())
    if code != 0:
        # its last word is how many files failed; why, it says file by file, and never when quiet
        why = [line for line in lines if line.startswith("ERROR: failed to transfer")]
        raise _failure("'dvc push' failed", code, why[:1] or lines, None)


def remote(layout: Layout) -> tuple[str, str] | None:
    """DVC's default remote: its name and address; None where there is none.

    Raises UserError when the configuration cannot be read or names a remote that it does not have.
    """
    config = versions.config(layout)
    name = config["core"].get("remote")
    try:
        return (str(name), str(config["remote"][name]["url"])) if name else None
    except KeyError as error:
        raise UserError(
            f"DVC's configuration names no default remote that there is ({error})",
            "fix .dvc/config: 'dvc remote list'",
        ) from None


def require_remote(layout: Layout, name: str, url: str) -> None:
    """MayPass or UserError unless data can be pushed to this remote now; changes nothing."""
    if "://" not in url:
        _require_folder(name, Path(url))
    elif url.startswith(("http://", "https://")):
        _require_answer(name, url)
    else:
        code, lines = _dvc(layout, ["status", "--cloud", "data.dvc"], lambda line: None, None)
        if code != 0:
            raise _failure(f"DVC's remote '{name}' cannot be used", code, lines, None)


def _require_folder(name: str, folder: Path) -> None:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"DVC's remote '{name}' cannot be written to: {there}",
            "give the right to write there, or name another remote: 'dvc remote modify'",
        )


def _require_answer(name: str, address: str) -> None:
    """MayPass unless a server answers, if only that we may not; DVC takes silence for an answer."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as answer:
        reason = f"HTTP {answer.code}" if answer.code >= 500 or answer.code == 429 else None
    except urllib.error.URLError as error:
        reason = None if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error)
    else:
        reason = None
    if reason:
        raise MayPass(f"DVC's remote '{name}' does not answer at {redact(address)} ({reason})")


def _repro(
    layout: Layout, targets: list[str], on_line: OnLine, lock: Lock | None
) -> tuple[int, list[str]]:
    """`dvc repro`, again where outputs that nothing names kept it from replacing them.

    DVC asks a person then, for it holds no copy; here they are put aside.
    """
    while True:
        code, lines = _dvc(layout, ["repro", *_pull(layout), *targets], on_line, lock)
        unsaved = _unsaved(layout, lines) if code else []
        if not unsaved:
            return code, lines
        aside = layout.state / "aside" / time.strftime("%Y%m%d-%H%M%S")
        for path in unsaved:
            target = aside / path.relative_to(layout.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        told = aside.relative_to(layout.root)
        on_line(f"{len(unsaved)} outputs of which DVC holds no copy are put aside in {told}")


def _unsaved(layout: Layout, lines: list[str]) -> list[Path]:
    """The outputs below artifacts/ that DVC does not replace; none where others are among them."""
    marks = [place for place, line in enumerate(lines) if "following unsaved files" in line]
    named = [Path(line) for line in lines[marks[-1] + 1 :] if line.startswith("/")] if marks else []
    artifacts = layout.root / "artifacts"
    ours = all(path.is_relative_to(artifacts) for path in named)
    return [path for path in named if os.path.lexists(path)] if ours else []


def _pull(layout: Layout) -> list[str]:
    """`--pull` where there is a remote; without one DVC fails where it could have run a stage."""
    return ["--pull"] if remote(layout) else []


# What DVC said


def _outcome(name: str, lines: list[str]) -> Outcome:
    if f"Running stage '{name}':" in lines:
        return "ran"
    brought = (f"Stage '{name}' is cached", f"Pulling data for stage: '{name}'")
    return "cached" if any(line.startswith(brought) for line in lines) else "unchanged"


def _failure(what: str, code: int, lines: list[str], name: str | None) -> UserError:
    """The error for a DVC that ended with `code`, with the reason that its lines give."""
    error = next((line for line in reversed(lines) if line.startswith("ERROR: ")), "")
    told = lines[: lines.index(error)] if error else lines
    failed = re.match(r"ERROR: failed to reproduce '([^']*)'", error)
    name = failed[1] if failed else name
    if passing := _passing(error, told):
        return StageMayPass(what, name, passing)
    said = next((line for line in reversed(told) if line.startswith("recctl: ")), "")
    reason = said.removeprefix("recctl: ") or error.removeprefix("ERROR: ") or f"exit code {code}"
    if error.endswith(f", exited with {MAY_PASS}"):
        return StageMayPass(what, name, reason)
    if not said and "failed to run" in error and told and not told[-1].startswith("> "):
        reason = f"{told[-1]} ({reason})"  # the last line of a traceback, mostly
    return StageFailed(what, name, reason)


_UNREACHED = re.compile(
    r"(?i)cannot connect|could ?n[o']t connect|failed to connect|unable to connect|connection"
    r" (?:refused|reset|aborted|lost|closed|timed out)|connect(?:ion)? ?timeout|timed out|timeout"
    r" error|unreachable|name or service not known|nodename nor servname|name resolution"
    r"|could not resolve host|temporarily unavailable|service unavailable|bad gateway"
    r"|server disconnected|slowdown|too many requests|\b(?:408|429|50[0234])\b[ :,)]"
)


def _passing(error: str, told: list[str]) -> str | None:
    """What may pass about an error of DVC's own; None for anything else."""
    if "is busy, it is being blocked by" in error or "Unable to acquire lock" in error:
        return "DVC is busy: another command of it works in this project"
    away = any("neither locally nor on remote" in line for line in told)
    if missing := re.search(r"missing data 'source': (.*)", error):
        # DVC says the same whether the remote is away or lacks the file
        if away:
            return f"DVC's remote gave no {missing[1]}: it is away, or nobody ran 'dvc push'"
        return None
    if "failed to run: " not in error and _UNREACHED.search(error):
        return f"DVC's remote does not answer ({error.removeprefix('ERROR: ')})"
    return None


# Running it


def _dvc(
    layout: Layout, arguments: list[str], on_line: OnLine, lock: Lock | None, umask: int = -1
) -> tuple[int, list[str]]:
    """Run DVC under a supervisor; its exit code and lines.

    When this is left by an exception everything that was started is stopped first.
    """
    _forget_dead(layout.root / ".dvc" / "tmp")
    inherited = lock.fileno() if lock else None
    process = subprocess.Popen(
        supervise.command([sys.executable, "-m", "dvc", *arguments]),
        cwd=layout.root,
        env=_environment(layout) | (lock.environment() if lock else {}),
        stdin=subprocess.PIPE,  # its end tells the supervisor that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[] if inherited is None else [inherited],
        umask=umask,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in _lines(process):
            lines.append(line)
            on_line(line)
        return process.wait(), lines
    except BaseException:
        process.stdin.close()
        _drain(process)
        raise
    finally:
        process.stdin.close()
        process.stdout.close()


def _environment(layout: Layout) -> dict[str, str]:
    """Ours, with this interpreter's commands first: the stages call `recctl` by name."""
    commands = str(Path(sys.executable).parent)
    path = os.pathsep.join([commands, os.environ.get("PATH", "")])
    return {**versions.environment(layout), "PATH": path, "PYTHONUNBUFFERED": "1"}


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Each line once it is whole; of one that was written over, as bars are, what stays."""
    rest = b""
    for chunk in _chunks(process):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from map(_shown, whole)
    if rest:
        yield _shown(rest)


def _shown(line: bytes) -> str:
    return redact(line.decode(errors="replace").rstrip().rpartition("\r")[2].expandtabs())


def _chunks(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What is printed, until the process has ended; what it left to a daemon is not waited for."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            if selector.select(0 if ended else 0.2):
                chunk = os.read(process.stdout.fileno(), 2**16)
                if not chunk:
                    return
                yield chunk
            elif ended:
                return


def _drain(process: subprocess.Popen[bytes]) -> None:
    """Let a supervisor that was told to stop finish; what is printed meanwhile is nobody's."""
    deadline = time.monotonic() + _STOPPED_SECONDS
    for _ in _chunks(process):
        if time.monotonic() > deadline:
            break
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forget_dead(folder: Path) -> None:
    """Take processes that are no DVC any more out of DVC's list of those who write.

    DVC itself looks only whether a number is in use. After a reboot, or in a container, a killed
    DVC's number soon is, and the project would be "busy" until somebody deleted the list.
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
            return  # in use, or not as we know it: DVC will say


def _is_dvc(pid: int) -> bool:
    import psutil

    try:
        return any("dvc" in part for part in psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
