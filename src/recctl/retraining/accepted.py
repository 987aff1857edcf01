"""Which version of `data/` is accepted, and the way back to it.

The accepted version is the newest one that passed validation. `.recctl/accepted.json` keeps its
data.dvc and its dvc.lock; before there is one, git's last commit has them. A version whose
validation failed is rejected: dvc.lock is restored, so that neither git nor the remote ever gets
that version, and `reject` takes it out of `data/`.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl import git, pipeline
from recctl.data import batches, versions
from recctl.data.batches import Batch
from recctl.errors import UserError
from recctl.files import digest, locked, read_state, replacing, replacing_folder, write_json
from recctl.intake import folder, sync
from recctl.layout import Layout
from recctl.render.text import Say


@dataclass(frozen=True)
class Accepted:
    """A version of `data/`, and what DVC recorded of it."""

    version: str
    files: dict[str, str]
    """The digest of each file of data/, by its name there."""
    pointer: str
    """The text of data.dvc."""
    lock: str | None
    """The text of dvc.lock; None: there is none."""


@dataclass(frozen=True)
class Rejection:
    """What `reject` took out of `data/`."""

    version: str
    """The rejected version."""
    accepted: str
    """The version that data/ is now."""
    batches: list[Batch]
    kept: str
    """The folder that keeps the batches."""
    moved: list[str]
    """The files that the batches came from, at their new paths."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return vars(self) | {"batches": [one.as_dict() for one in self.batches]}


def current(layout: Layout) -> Accepted | None:
    """The accepted version with today's base files; None where none is known."""
    version = versions.digest(layout)
    now = versions.files(layout, version) if version else None
    for known in (_kept(layout), _committed(layout)):
        if known is not None and now is not None and _base(known.files) == _base(now):
            return known
    return None


def keep(layout: Layout) -> None:
    """Record that `data/` as it is now is the accepted version."""
    version = versions.digest(layout)
    files = versions.files(layout, version) if version else None
    if version is None or files is None:
        return
    now = Accepted(version, files, _text(layout, "data.dvc") or "", _text(layout, "dvc.lock"))
    if now != _kept(layout):
        write_json(_path(layout), dataclasses.asdict(now))


def keep_if_passed(layout: Layout) -> None:
    """The same before an intake, where dvc.lock shows that it passed, or no other is known."""
    if _passed(layout) or current(layout) is None:
        keep(layout)


def restore_lock(layout: Layout) -> None:
    """Restore dvc.lock as it was before the rejected version was tried."""
    known = current(layout)
    if known is not None and known.version != versions.digest(layout):
        _write_lock(layout, known.lock)


def settle_lock(layout: Layout, say: Say) -> bool:
    """Whether dvc.lock is of the version that data.dvc names; it is restored where possible."""
    version = versions.digest(layout)
    if _is_of(_text(layout, "dvc.lock"), version):
        return True
    known = _kept(layout)
    texts = [known.lock] if known is not None and known.version == version else []
    for text in (*texts, git.at_head(layout.root, "dvc.lock")):
        if text is not None and _is_of(text, version):
            say("dvc.lock named another version of data/: it is restored")
            _write_lock(layout, text)
            return True
    return False


def reject(layout: Layout, say: Say) -> Rejection:
    """Take out of `data/` what was taken in since the accepted version; nothing is lost.

    Afterwards the batches are in `.recctl/rejected/`, and the files that they came from in the
    folder `refused` of their source, with the reason. Killed at any moment, this can be repeated.
    Raises UserError, before anything is changed, where there is nothing to take out.
    """
    with locked(layout.state / "data.lock", sync.BUSY):
        sync.bring(layout, say)
        version, known = str(versions.digest(layout)), current(layout)
        now = versions.files(layout, version) or {}
        if known is None or known.version == version:
            raise UserError(
                f"nothing was taken into data/ since its accepted version {version[:8]}",
                "for other base files see 'recctl data use'",
            )
        if not known.files.items() <= now.items():
            raise UserError(
                f"data/ lacks files of its accepted version {known.version[:8]}",
                "bring them with 'git checkout data.dvc' and 'dvc checkout data.dvc'",
            )
        names = sorted(now.keys() - known.files.keys())
        paths = [layout.data / name for name in names]
        rejected = [batches.read(path) for path in paths]
        home = layout.state / "rejected" / version.removesuffix(".dir")
        with replacing_folder(home) as scratch:
            for path in (*paths, layout.root / "data.dvc"):
                shutil.copyfile(path, scratch / path.name)
        moved = [str(path.relative_to(layout.root)) for path in _refuse(layout, rejected, version)]
        _write_lock(layout, known.lock)
        for path in paths:
            path.unlink()  # until data.dvc changes, the next intake brings them back
        with replacing(layout.root / "data.dvc") as temporary:
            temporary.write_text(known.pointer, encoding="utf-8")
        sync.bring(layout, say)
    kept = str(home.relative_to(layout.root))
    return Rejection(version, known.version, rejected, kept, moved)


def _refuse(layout: Layout, rejected: list[Batch], version: str) -> Iterator[Path]:
    """Move the files that the batches came from to the refused ones; yields their new paths."""
    reason = f"its rows were taken into version {version} of data/, which was rejected"
    for batch in rejected:
        kind, _, path = batch.source.partition(":")
        home = layout.root / path
        for file in _taken(home, batch) if kind == "folder" else ():
            yield folder.refuse(file, reason, home)


def _taken(home: Path, batch: Batch) -> list[Path]:
    """The files taken under the batch's name that have its content."""
    stem = batch.name.partition(".")[0]
    near = [path for path in folder.files(home / "taken") if folder.shown(path).startswith(stem)]
    return [path for path in near if digest(path) == batch.sha256]


def _base(files: dict[str, str]) -> dict[str, str]:
    """The files of a version that are not batches."""
    prefix = f"{batches.FOLDER}/"
    return {name: md5 for name, md5 in files.items() if not name.startswith(prefix)}


def _path(layout: Layout) -> Path:
    return layout.state / "accepted.json"


def _kept(layout: Layout) -> Accepted | None:
    return read_state(_path(layout), Accepted)


def _committed(layout: Layout) -> Accepted | None:
    """The version in git's last commit; None where DVC's cache does not list its files."""
    pointer = git.at_head(layout.root, "data.dvc")
    version = versions.named(pointer, "data.dvc of git's last commit") if pointer else None
    files = versions.files(layout, version) if version else None
    if version is None or files is None:
        return None
    return Accepted(version, files, str(pointer), git.at_head(layout.root, "dvc.lock"))


# dvc.lock


def _passed(layout: Layout) -> bool:
    """Whether dvc.lock notes that validate passed on what ingest made of today's data."""
    lock = _text(layout, "dvc.lock")
    made = _md5(lock, "ingest", "outs", "artifacts/interactions")
    checked = _md5(lock, "validate", "deps", "artifacts/interactions")
    return made is not None and made == checked and _data(lock) == versions.digest(layout)


def _is_of(lock: str | None, version: str | None) -> bool:
    """Whether a dvc.lock names this version of data/, or no version."""
    return _data(lock) in (None, version)


def _data(lock: str | None) -> str | None:
    return _md5(lock, "ingest", "deps", "data")


def _md5(lock: str | None, stage: str, kind: str, path: str) -> str | None:
    return pipeline.recorded(lock).get(stage, {}).get(kind, {}).get(path)


def _write_lock(layout: Layout, text: str | None) -> None:
    path = layout.root / "dvc.lock"
    if text is None:
        path.unlink(missing_ok=True)
    elif _text(layout, path.name) != text:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _text(layout: Layout, name: str) -> str | None:
    path = layout.root / name
    return path.read_text(encoding="utf-8") if path.is_file() else None
