"""Logs at addresses: what DVC reads (S3, Google Cloud, Azure, SSH, ...), and http."""

import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from recctl import dvc
from recctl.data import plain
from recctl.datasets.download import Progress, download, fingerprint
from recctl.errors import Gone, MayPass, Unknown, UserError
from recctl.files import replacing
from recctl.layout import Layout
from recctl.redact import redact
from recctl.render.text import Say

if TYPE_CHECKING:
    from dvc.fs import FileSystem

SECONDS = 60.0
"""How long a store may take for its first answer; its library repeats requests for minutes."""
_FIX = "check the address, the connection, and the store's credentials and endpoint (docs/data.md)"
WEB = ("http://", "https://")


def is_address(name: str) -> bool:
    """Whether a name is an address and no path."""
    return re.match(r"[A-Za-z][\w+.-]*://", name) is not None


@contextmanager
def at_hand(
    layout: Layout, names: Sequence[str], progress: Progress, say: Say
) -> Iterator[list[Path]]:
    """The files that `names` name: paths as they are, what is at addresses fetched.

    A folder at an address gives its files in the order of their names, without those that begin
    with a dot or an underscore. Fetched files stay until `clear`, and are not fetched again while
    their store holds the same. A UserError that the block raises names them by their addresses.
    """
    paths: list[Path] = []
    called: dict[Path, str] = {}
    for name in names:
        if not is_address(name):
            paths.append(Path(name))
            continue
        of_web = name.startswith(WEB)
        fetched = (_from_web if of_web else _from_store)(layout, name, progress, say)
        called |= fetched
        paths += fetched
    with plain.called(called):
        yield paths


def clear(layout: Layout) -> None:
    """Delete what was fetched."""
    shutil.rmtree(_home(layout), ignore_errors=True)


def _home(layout: Layout) -> Path:
    return layout.state / "downloads" / "stores"


def _from_web(layout: Layout, address: str, progress: Progress, say: Say) -> dict[Path, str]:
    name = _name(unquote(urlsplit(address).path))
    target = _home(layout) / fingerprint(address)[:16] / name
    target.unlink(missing_ok=True)  # the file may have changed since
    return {download(address, target, progress=progress, say=say): redact(address)}


def _from_store(layout: Layout, address: str, progress: Progress, say: Say) -> dict[Path, str]:
    """The local copies of the file or of the folder's files, with their addresses."""
    from dvc.fs import parse_external_url
    from dvc.fs.callbacks import Callback

    shown, settings = redact(address), dvc.config(layout)
    with _plainly(shown):
        store, path = parse_external_url(address, config=settings)
        files = _files(store, path, shown)
        home = _home(layout)
        copies = {one: home / store.ukey(one)[:16] / _name(one) for one in files}
        lacking = {one: files[one] for one, copy in copies.items() if not copy.exists()}
        total, done = sum(size or 0 for size in lacking.values()), 0
        if lacking:
            say(f"fetching {shown}" + (f": {len(lacking):,} files" if path not in files else ""))
        for one, size in lacking.items():
            hooks = {"bytes": lambda _, value, done=done: progress(done + value, total or None)}
            with replacing(copies[one]) as temporary:
                store.get_file(one, str(temporary), callback=Callback(hooks=hooks))
                if (came := temporary.stat().st_size) != (size or came):
                    raise MayPass(f"{shown} gave {came:,} of {size:,} bytes of {one}", _FIX)
            done += size or 0
        return {copy: redact(store.unstrip_protocol(one)) for one, copy in copies.items()}


def _files(store: "FileSystem", path: str, shown: str) -> dict[str, int | None]:
    """The size of the file at a path, or of each file in the folder there."""
    info = _info(store, path, shown)
    if info["type"] != "directory":
        return {path: info.get("size")}
    hidden = re.compile(r"(?:^|/)[._]")  # such as Spark's _SUCCESS
    found = sorted(one for one in store.find(path) if not hidden.search(store.relpath(one, path)))
    sizes = {one: held.get("size") for one, held in zip(found, store.info(found), strict=True)}
    files = {one: size for one, size in sizes.items() if size != 0}  # 0: made for an empty folder
    if not files:
        raise UserError(f"{shown} is a folder without files", "check the address")
    return files


def _info(store: "FileSystem", path: str, shown: str) -> dict[str, Any]:
    """What a store says of a path; the thread that may still ask then ends with the process."""
    answer: Future[dict[str, Any]] = Future()

    def ask() -> None:
        try:
            with _plainly(shown):
                answer.set_result(store.info(path))
        except UserError as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    if not wait([answer], SECONDS).done:
        raise MayPass(f"{shown} does not answer within {SECONDS:.0f} s", _FIX)
    return answer.result()


def _name(path: str) -> str:
    return PurePosixPath(path).name.lstrip(".") or "log"


@contextmanager
def _plainly(shown: str) -> Iterator[None]:
    """Turns the errors of the stores' libraries into UserErrors, one line without secrets."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(redact(str(error)).split()) or type(error).__name__
        if dvc.disk_is_full(reason):
            raise
        raise _unknown(error, shown, reason) from error


def _unknown(error: Exception, shown: str, reason: str) -> UserError:
    if package := dvc.lacking_package(reason):
        return UserError(f"{shown} needs a plugin of DVC's", f"pip install '{package}'")
    if isinstance(error, FileNotFoundError):
        why = "" if reason in shown else f" ({reason})"
        return Gone(f"there is nothing at {shown}{why}", "check the bucket and the path")
    if isinstance(error, PermissionError):
        return Unknown(
            f"{shown} may not be read ({reason})", "check the credentials and the rights"
        )
    return Unknown(f"{shown} cannot be read ({reason})", _FIX)
