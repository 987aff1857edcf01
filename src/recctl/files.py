"""Files that are whole or absent: written to a temporary name, fsynced, renamed.

New files are private to the user (0600, folders 0700, less where the umask is stricter); a file
that is replaced keeps its mode. docs: SECURITY.md.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from recctl import limits
from recctl.errors import MayPass, UserError

T = TypeVar("T")

_USERS_UMASK = "RECCTL_UMASK"


def keep_private() -> None:
    """Let only the user read what this process and its children create from now on."""
    former = os.umask(_PRIVATE)
    os.umask(former | _PRIVATE)
    os.environ.setdefault(_USERS_UMASK, f"{former:o}")


_PRIVATE = 0o077


def users_umask() -> int:
    """The umask before `keep_private`, for git and DVC's remote, which others may share.

    -1, which subprocess takes as "unchanged", where it was not set.
    """
    return int(os.environ.get(_USERS_UMASK, "-1"), 8)


def leads_out(name: str) -> bool:
    """Whether a name with slashes may lead out of the folder that it should be in."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path` that replaces it when the block succeeds.

    The folder is created if missing. On an error the temporary file is removed and `path` is
    unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            yield temporary
            _keep_mode(path, temporary)
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Like `replacing`, for a whole folder; what a killed process left is removed first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(folder)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    old = temporary.with_name(temporary.name + ".old")
    try:
        with naming(folder):
            yield temporary
            _keep_mode(folder, temporary)
            for file in temporary.rglob("*"):
                if file.is_file():
                    sync(file)
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
            sync(folder.parent)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _keep_mode(former: Path, new: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        new.chmod(former.stat().st_mode & 0o777)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name `path` to a system error that names no file, as those of some libraries."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def recover_folder(folder: Path) -> None:
    """Undo what a killed `replacing_folder` left: the former folder is restored."""
    leftovers = sorted(path for path in folder.parent.glob(f".{folder.name}.*") if path.is_dir())
    former = [path for path in leftovers if path.suffix == ".old"]
    if former and not folder.exists():
        former[0].rename(folder)
    for path in leftovers:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a lock that the operating system releases when the process ends.

    While another process holds it, this one waits or, where `busy` is given, raises MayPass with
    that message.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise MayPass(busy or "", "wait until it has ended") from None
        yield


def sync(path: Path) -> None:
    """Have the operating system write a file or a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole; NaN and infinities are refused: other programs cannot read them."""
    with replacing(path) as temporary:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(
    path: Path, made_by: str, keys: Sequence[str] = (), most: int = limits.JSON_BYTES
) -> Any:
    """Read JSON that the stage `made_by` wrote.

    Raises UserError when it is missing, has more than `most` bytes, is not JSON, or not an object
    that holds all the `keys`.
    """
    try:
        if path.stat().st_size > most:
            raise damaged(path, made_by, f"more than {most:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise missing(path, made_by) from None
    except UserError:
        raise
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise damaged(path, made_by, f"not valid JSON: {error}") from None
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise damaged(path, made_by, f"it has no '{key}'")
    return content


def read_state(path: Path, kind: type[T], fix: str | None = None) -> T | None:
    """What `write_json` kept of a dataclass or of plain values; None where there is no file.

    A damaged file raises UserError with `fix` where that is given, and counts as none otherwise.
    """
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        if fix is None:
            return None
        raise UserError(f"{path} is damaged", fix) from None


def read_table(path: Path, made_by: str, columns: list[str]) -> Any:
    """Some columns of a parquet file that the stage `made_by` wrote, as an arrow table.

    Raises UserError when the file is missing, not parquet, or lacks a column.
    """
    import pyarrow.parquet as pq

    with _parquet(path, made_by):
        return pq.read_table(path, columns=columns)


def require_columns(path: Path, made_by: str, columns: Sequence[str]) -> None:
    """UserError unless the stage `made_by` wrote this parquet file with these columns."""
    import pyarrow.parquet as pq

    with _parquet(path, made_by):
        names = pq.read_schema(path).names
    if absent := [name for name in columns if name not in names]:
        raise damaged(path, made_by, f"it has no column {', '.join(absent)}")


def opened_parquet(source: Path | IO[bytes]) -> Any:
    """A parquet file whose batches are read one by one; pyarrow would keep all that it has read."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, pre_buffer=False)  # noqa: TID251


@contextlib.contextmanager
def _parquet(path: Path, made_by: str) -> Iterator[None]:
    """UserError for a file that is missing or that pyarrow cannot read."""
    import pyarrow as pa

    if not path.is_file():
        raise missing(path, made_by)
    try:
        with naming(path):
            yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise damaged(path, made_by, str(error)) from None


def missing(path: Path, made_by: str) -> UserError:
    """The error for a file that an earlier stage should have written."""
    return UserError(f"no {path}", f"it is written by '{made_by}': run 'dvc repro {made_by}'")


def damaged(path: Path, made_by: str, reason: str) -> UserError:
    """The error for a file of an earlier stage that cannot be read; the reason's first line."""
    first = reason.strip().splitlines()[0] if reason.strip() else "no reason given"
    return UserError(f"{path} is damaged ({first})", f"run 'dvc repro -f {made_by}'")


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
