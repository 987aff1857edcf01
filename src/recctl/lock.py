"""One retraining at a time per project: who holds the project, and how others wait.

Three locks of the operating system (flock); each is released when the last process that inherited
it has ended, for whatever reason. The content of a lock file names the holder; it counts only while
the lock is held, so that of a dead holder is ignored.

- `.recctl/retrain.lock`: exclusive for a whole retraining, shared for a stage that a person runs.
- `.recctl/stage.lock`: every stage while it runs, so that a training whose parents were killed
  still counts.
- DVC's own: between two stages of a person's `dvc repro` only this lock shows that it runs.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from recctl.errors import MayPass, UserError
from recctl.layout import Layout
from recctl.render.text import Say
from recctl.user_identity import user

VARIABLE = "RECCTL_LOCK"
"""Environment variable of a retraining's children: the token in its lock file."""

_DVC = "a command of DVC"
_POLL = 0.2
_GRACE = 0.5
"""Seconds for which a lock may be held briefly by a process that only checks or tries it."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a project."""

    who: str
    pid: int
    host: str
    since: str
    """UTC, ISO 8601."""
    doing: str
    """What it does now, such as the name of a stage; empty where that is not known."""

    def __str__(self) -> str:
        what = f", now at '{self.doing}'" if self.doing else ""
        return f"{self.who} (pid {self.pid} on {self.host}) since {self.since}{what}"


class Busy(MayPass):
    """Another process holds the project: `holder`, or None where it is not known."""

    def __init__(self, holder: Holder | None) -> None:
        what = "in use" if holder and holder.who == _DVC else "being retrained"
        super().__init__(
            f"this project is {what} by {holder or 'another process'}",
            "wait with 'recctl wait', then run the command again",
        )
        self.holder = holder


class Lock:
    """The lock on a project, held by this process or by the one that started it."""

    def __init__(self, file: int | None, holder: Holder, token: str) -> None:
        self._file = file
        self._holder = holder
        self._token = token

    def doing(self, what: str) -> None:
        """Record what the holder does, for those who wait; no effect where a parent holds it."""
        self._holder = replace(self._holder, doing=what)
        if self._file is not None:
            _write(self._file, self._holder, self._token)

    def environment(self) -> dict[str, str]:
        """The environment that makes children part of this retraining."""
        return {VARIABLE: self._token}

    def fileno(self) -> int | None:
        """For `pass_fds`: a child that inherits it keeps the lock; None where a parent holds it."""
        return self._file


@contextlib.contextmanager
def held(layout: Layout, who: str, *, wait: float = 0, say: Say | None = None) -> Iterator[Lock]:
    """Hold the project for a retraining, so that no other one runs.

    In a child of the holder this succeeds immediately: it is part of that retraining. Raises Busy
    when the project is not free within `wait` seconds; the holder is reported once.
    """
    token = _token_of_parent(layout)
    if token is not None:
        yield Lock(None, _holder(who), token)
        return
    file = _take_project(layout, wait, say or (lambda line: None))
    try:
        lock = Lock(file, _holder(who), secrets.token_hex(8))
        lock.doing("")
        yield lock
    finally:
        os.ftruncate(file, 0)
        os.close(file)  # a supervisor that still stops its children keeps the lock


@contextlib.contextmanager
def stage(layout: Layout, name: str) -> Iterator[None]:
    """Hold the locks of a stage while it runs; Busy when another retraining holds the project.

    A child that is started with close_fds=False keeps them until it ends.
    """
    with contextlib.ExitStack() as stack:
        who = f"{user()}'s 'dvc repro' or 'recctl stage'"
        if _token_of_parent(layout) is None:
            stack.callback(os.close, _within_grace(layout, _path(layout), fcntl.LOCK_SH))
        elif retraining := _read(_path(layout))[0]:
            who = f"a stage of {retraining.who}"
        file = _within_grace(layout, _stage_path(layout), fcntl.LOCK_EX)
        stack.callback(os.close, file)
        os.set_inheritable(file, True)
        _write(file, replace(_holder(who), doing=name), "")
        yield


def holder(layout: Layout) -> Holder | None:
    """The holder of the project: a retraining, a stage, or a command of DVC; None when it is free.

    Creates nothing, and does not cause a process that tries at this moment to be refused.
    """
    for path in (_path(layout), _stage_path(layout)):
        if _is_locked(path):
            return _read(path)[0] or Holder("another process", 0, "unknown host", "unknown", "")
    return _dvc_holder(layout)


def wait(layout: Layout, timeout: float | None, say: Say) -> None:
    """Return when the project is free; report its holder, and each change of it.

    Raises Busy when it is not free within `timeout` seconds.
    """
    began = time.monotonic()
    reported = ""
    while (current := holder(layout)) is not None:
        if str(current) != reported:
            reported = str(current)
            say(f"waiting for {current}")
        if timeout is not None and time.monotonic() - began >= timeout:
            raise Busy(current)
        time.sleep(_POLL)


def _path(layout: Layout) -> Path:
    return layout.state / "retrain.lock"


def _stage_path(layout: Layout) -> Path:
    return layout.state / "stage.lock"


def _holder(who: str) -> Holder:
    return Holder(who, os.getpid(), socket.gethostname(), _iso(time.time()), "")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# Taking


def _take_project(layout: Layout, wait: float, say: Say) -> int:
    """The file of the exclusive lock, taken when nothing else runs in the project."""
    began = time.monotonic()
    reported = False
    while True:
        current = holder(layout)
        if current is None:
            file = _try(_path(layout), fcntl.LOCK_EX)
            if file is not None:
                os.ftruncate(file, 0)  # the content that a dead holder left
                if not _is_locked(_stage_path(layout)) and _dvc_holder(layout) is None:
                    return file
                os.close(file)
        passed = time.monotonic() - began
        if passed >= (wait if current else max(wait, _GRACE)):
            raise Busy(current)
        if current and not reported:
            say(f"waiting for {current}")
            reported = True
        time.sleep(min(_POLL, max(wait - passed, 0.02)) if current else 0.02)


def _within_grace(layout: Layout, path: Path, kind: int) -> int:
    """The file of a lock that is only held briefly; raises Busy after the grace period."""
    deadline = time.monotonic() + _GRACE
    while (file := _try(path, kind)) is None:
        if time.monotonic() > deadline:
            raise Busy(holder(layout))
        time.sleep(0.02)
    return file


def _try(path: Path, kind: int) -> int | None:
    """The open file with its lock taken; None when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _flock(path, file, kind):
            taken, file = file, -1
            return taken
        return None
    finally:
        if file >= 0:
            os.close(file)


def _is_locked(path: Path) -> bool:
    """Whether another process holds the lock exclusively."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _flock(path, file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _flock(path: Path, file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        raise UserError(
            f"the file system of {path} cannot lock files", "keep the project on a local disk"
        ) from None
    return True


# The content of a lock file


def _write(file: int, holder: Holder, token: str) -> None:
    """Write one line in place: a new file would be a new lock."""
    line = json.dumps({**asdict(holder), "token": token}) + "\n"
    size = os.pwrite(file, line.encode(), 0)
    os.ftruncate(file, size)


def _read(path: Path) -> tuple[Holder | None, str]:
    """The holder and the token in the file; None where it is empty, half written or damaged."""
    for _ in range(5):
        try:
            with path.open(encoding="utf-8") as file:
                known = json.loads(file.readline())
            token = known.pop("token")
            named = Holder(**known)
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            time.sleep(0.01)  # it is being written
            continue
        return named, str(token)
    return None, ""


def _token_of_parent(layout: Layout) -> str | None:
    """The token in our environment, if the retraining that it names holds this project now.

    That of an orphan, whose retraining has ended, does not count.
    """
    token = os.environ.get(VARIABLE, "")
    if token and _is_locked(_path(layout)) and _read(_path(layout))[1] == token:
        return token
    return None


# DVC


def _dvc_holder(layout: Layout) -> Holder | None:
    """The command of DVC that has the repository locked; DVC unlocks it while a stage runs."""
    for folder in (layout.root, *layout.root.parents):
        if (folder / ".dvc").is_dir():
            path = folder / ".dvc" / "tmp" / "lock"
            if not _is_locked(path):
                return None
            return Holder(_DVC, _dvc_pid(path), socket.gethostname(), _age(path), "")
    return None


def _dvc_pid(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _age(path: Path) -> str:
    try:
        return _iso(path.stat().st_mtime)
    except OSError:
        return "unknown"
