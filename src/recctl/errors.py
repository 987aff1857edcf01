"""Mistakes of the user and failures of the machine, each as an error of one line."""

import errno
import os
import re

from recctl.redact import redact

MAY_PASS = 75
"""Exit code of a stage that met a circumstance which may pass (EX_TEMPFAIL)."""


class UserError(ValueError):
    """A mistake or a circumstance that the user can fix; the command line ends with exit code 2.

    The message is one line: what is wrong, where, and how to fix it.

    >>> str(UserError("no file 'log.csv'", "give the path of an existing file"))
    "no file 'log.csv'; give the path of an existing file"
    """

    def __init__(self, what: str, fix: str | None = None) -> None:
        super().__init__(f"{what}; {fix}" if fix else what)
        self.what = what

    def rename(self, old: str, new: str) -> None:
        """Replace a name, such as that of a temporary file, by one that the user knows."""
        self.args = (str(self).replace(old, new),)
        self.what = self.what.replace(old, new)


class Gone(UserError):
    """What was asked for does not exist: its store states so explicitly.

    The only failed read after which a record may be changed.
    """


class Unknown(UserError):
    """Whether it exists could not be read (refused access, a server's failure, a cut connection,
    no room for the copy): nothing may be concluded or changed."""


class MayPass(Unknown):
    """An Unknown whose cause may pass (a server away, a lock held): worth a retry."""


def type_of(error: UserError) -> type[UserError]:
    """The class for an error that is raised again with a longer message."""
    kinds = (MayPass, Unknown, Gone)
    return next((kind for kind in kinds if isinstance(error, kind)), UserError)


def option(setting: str) -> str:
    """How a setting of `ingest` is given: on the command line of `recctl data`, and in params.yaml.

    >>> option("time_unit")
    'with --time-unit (ingest.time_unit in params.yaml)'
    """
    flag = setting.replace("minimum", "min").replace("_", "-")
    return f"with --{flag} (ingest.{setting} in params.yaml)"


def unknown_name(kind: str, name: str, known: list[str]) -> UserError:
    """The error for a name that is not in a table of names, with the nearest one first."""
    return UserError(f"unknown {kind} '{name}'", known_names(name, known))


def known_names(name: str, known: list[str]) -> str:
    """The hint for a name that is not in a table of names."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}known: {', '.join(known)}"


def circumstance(error: BaseException) -> UserError | None:
    """An error of the machine, a service or a file in one line; None for a defect of recctl.

    Covers the kinds of error that Python and the libraries raise for these, and what an error was
    raised from. A UserError is returned unchanged.

    >>> str(circumstance(OSError(28, "No space left on device", "/data/log.csv")))
    'No space left on device at /data/log.csv; free some disk space and run the command again'
    >>> str(circumstance(MemoryError("Unable to allocate 9 GiB")))[:50]
    'not enough memory (Unable to allocate 9 GiB); clos'
    >>> circumstance(KeyError("a mistake of ours")) is None
    True
    """
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None or isinstance(cause, UserError):
            break
        if known := _known(cause):
            return known
        cause = cause.__cause__
    return cause if isinstance(cause, UserError) else None


_MOST_CAUSES = 10


def _known(error: BaseException) -> UserError | None:
    text = _one_line(error)
    if isinstance(error, RuntimeError):
        for message, what, fix in _MESSAGES:
            if message in text:
                return UserError(f"{what} ({text})", fix)
    for base in type(error).__mro__:
        name = f"{base.__module__.partition('.')[0].lstrip('_')}.{base.__name__}"
        if name in _OURS:
            return None
        if name in _KINDS:
            raised, what, fix = _KINDS[name]
            return raised(f"{what} ({text})", fix)
    return _of_the_system(error, text) if isinstance(error, OSError) else None


def _of_the_system(error: OSError, text: str) -> UserError | None:
    if error.errno is None:  # raised by a library for a file that it cannot read
        return UserError(f"a file cannot be read or written ({text})", "check the file named")
    if error.errno not in _FIXES:
        return None
    where = f" at {error.filename}" if error.filename else ""
    kind = MayPass if error.errno in _PASSING else UserError
    return kind(f"{os.strerror(error.errno)}{where}", _FIXES[error.errno])


def _one_line(error: BaseException) -> str:
    """The message of an error in one line, without SQL and secrets."""
    text = re.split(r"\[SQL: |\(Background on this", str(error))[0]
    text = " ".join(redact(text).split())
    return f"{text[:300]} ..." if len(text) > 300 else text or type(error).__name__


_DISK = "free some disk space and run the command again"
_FILES = "close other programs, or raise the limit on open files: 'ulimit -n 4096'"
_AGAIN = "check the disk or the share that it is on and run the command again"
_AWAY = "check the connection and the address, and run the command again later"
_FIXES = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: "your disk quota is used up: free some space and run the command again",
    errno.EFBIG: "the file system takes no file of this size: use another one",
    errno.EACCES: "check the permissions of this path",
    errno.EPERM: "check the permissions and the owner of this path",
    errno.EROFS: "the file system is read-only: use a project folder that can be written",
    errno.ENOENT: "put it back where it was, or run the command again",
    errno.EISDIR: "a folder is where a file should be: move it away",
    errno.EEXIST: "a file is where a folder should be: move it away",
    errno.ENOTDIR: "a file is where a folder should be: move it away",
    errno.ENOTEMPTY: "another program wrote into this folder: run the command again",
    errno.ELOOP: "a symbolic link points to itself: remove it",
    errno.ENAMETOOLONG: "use a shorter name or path",
    errno.EXDEV: "keep the project's folders on one file system",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: _AGAIN,
    errno.ESTALE: _AGAIN,
    errno.ENXIO: _AGAIN,
    errno.ENODEV: _AGAIN,
    errno.EREMOTEIO: _AGAIN,
    errno.ENOLCK: "the file system takes no locks: use a project folder on another one",
    errno.EOPNOTSUPP: "the file system cannot do this: use a project folder on another one",
    errno.ENOSYS: "the file system cannot do this: use a project folder on another one",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.EAGAIN: "the machine is short of processes or memory: run the command again",
    errno.EBUSY: "another program uses it: run the command again when it has ended",
    errno.ETXTBSY: "another program uses it: run the command again when it has ended",
    errno.EADDRINUSE: "another program listens there: stop it, or choose another port",
    errno.EADDRNOTAVAIL: _AWAY,
    errno.ENOTCONN: _AWAY,
    errno.EHOSTUNREACH: _AWAY,
    errno.EHOSTDOWN: _AWAY,
    errno.ENETUNREACH: _AWAY,
    errno.ENETDOWN: _AWAY,
}
"""Fixes by error number; any other number, such as EBADF or EINVAL, is a defect."""
_PASSING = {number for number, fix in _FIXES.items() if fix is _AWAY} | {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EIO,
    errno.ESTALE,
}

Kind = tuple[type[UserError], str, str]

_NETWORK: Kind = (MayPass, "a network request failed", _AWAY)
_INSECURE: Kind = (
    UserError,
    "no secure connection",
    "check the certificate and the address",
)
_MEMORY: Kind = (
    UserError,
    "not enough memory",
    "close other programs, lower train.batch_size or max_length, or use a larger machine",
)
_DATABASE: Kind = (
    MayPass,
    "the database fails",
    "run the command again later, and check that the database can be reached and written",
)
_DAMAGED: Kind = (UserError, "a file is damaged", "get it again, or run what writes it again")
_TABLES: Kind = (
    UserError,
    "DuckDB cannot read or write",
    "check the file named, the free disk space and the memory",
)
_KINDS: dict[str, Kind] = {
    "builtins.MemoryError": _MEMORY,
    "torch.OutOfMemoryError": _MEMORY,
    "duckdb.OutOfMemoryException": _MEMORY,
    "builtins.RecursionError": (
        UserError,
        "some input is nested too deep",
        "check the JSON or YAML that you gave",
    ),
    "builtins.UnicodeDecodeError": (
        UserError,
        "a file or an answer is not UTF-8 text",
        "convert it to UTF-8",
    ),
    "builtins.UnicodeEncodeError": (
        UserError,
        "a character cannot be written here",
        "set LC_ALL=C.UTF-8, and rename what has a name of other bytes",
    ),
    "builtins.EOFError": _DAMAGED,
    "builtins.ConnectionError": _NETWORK,
    "builtins.TimeoutError": _NETWORK,
    "socket.gaierror": _NETWORK,
    "socket.herror": _NETWORK,
    "ssl.SSLError": _INSECURE,
    "urllib.URLError": _NETWORK,
    "http.HTTPException": _NETWORK,
    "urllib3.HTTPError": _NETWORK,
    "requests.SSLError": _INSECURE,
    "requests.RequestException": _NETWORK,
    "httpx.HTTPError": _NETWORK,
    "httpcore.NetworkError": _NETWORK,
    "sqlite3.Error": _DATABASE,
    "sqlalchemy.SQLAlchemyError": _DATABASE,
    "psycopg2.Error": _DATABASE,
    "duckdb.InvalidInputException": _TABLES,
    "duckdb.Error": _TABLES,
    "pyarrow.ArrowException": _DAMAGED,
    "safetensors.SafetensorError": _DAMAGED,
    "safetensors_rust.SafetensorError": _DAMAGED,
    "zipfile.BadZipFile": _DAMAGED,
    "tarfile.TarError": _DAMAGED,
    "gzip.BadGzipFile": _DAMAGED,
    "zlib.error": _DAMAGED,
    "lzma.LZMAError": _DAMAGED,
    "mlflow.MlflowException": (
        UserError,
        "MLflow cannot do what was asked",
        "check MLFLOW_TRACKING_URI and the server's log",
    ),
    "subprocess.TimeoutExpired": (MayPass, "a program took too long", "run the command again"),
    "subprocess.CalledProcessError": (
        UserError,
        "a program failed",
        "run it by hand to see its messages",
    ),
}
"""By module and name of a class: the class to raise, what happened, how to fix it."""
_OURS = {
    "duckdb.ProgrammingError",
    "duckdb.InternalError",
    "sqlite3.ProgrammingError",
    "io.UnsupportedOperation",
}
"""Subclasses of those in the table that are defects of recctl."""
_MESSAGES = [
    ("DefaultCPUAllocator: can't allocate memory", *_MEMORY[1:]),
    ("can't start new thread", "too many threads", "close other programs, or raise 'ulimit -u'"),
    ("CUDA error", "the GPU failed", "run the command again, or set train.device: cpu"),
]
"""Messages of a plain RuntimeError that is such a circumstance."""
