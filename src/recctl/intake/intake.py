"""Reads all sources in turn: new rows become batches, and `data/` a new DVC version."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recctl import journal, limits
from recctl.data import batches, columns, engine, versions
from recctl.data.batches import Batch
from recctl.data.params import IngestParams
from recctl.errors import MayPass, UserError, circumstance
from recctl.files import locked
from recctl.intake import folder, read, sync
from recctl.intake.params import Folder, IntakeParams, Source, Sql, Url
from recctl.intake.read import Arrival, Changed, Known, NoGoodRow, NotInteractions
from recctl.layout import Layout
from recctl.render.text import Say


@dataclass(frozen=True, kw_only=True)
class Intake:
    """The result of an intake."""

    batches: list[Batch] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)
    """Files, queries and addresses without new rows."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of what cannot be read as interactions."""
    waiting: list[str] = field(default_factory=list)
    """Files that are still being written: they are left for the next intake."""
    data_md5_before: str
    data_md5_after: str

    @property
    def new(self) -> int:
        """Interactions that were not held before."""
        return sum(batch.new for batch in self.batches)

    @property
    def changed(self) -> bool:
        """Whether data/ became a new DVC version."""
        return self.data_md5_before != self.data_md5_after

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "new": self.new,
            "changed": self.changed,
            **asdict(self),
            "batches": [batch.as_dict() for batch in self.batches],
            "refused": [{"name": name, "reason": reason} for name, reason in self.refused],
        }


def together(tries: Sequence[Intake]) -> Intake:
    """The results of the attempts of one intake, at least one, as a single result."""
    return Intake(
        batches=[batch for attempt in tries for batch in attempt.batches],
        known=tries[-1].known,
        refused=[refusal for attempt in tries for refusal in attempt.refused],
        waiting=tries[-1].waiting,
        data_md5_before=tries[0].data_md5_before,
        data_md5_after=tries[-1].data_md5_after,
    )


def take_in(
    layout: Layout, say: Say, record: Callable[[Intake], None] = lambda taken: None
) -> Intake:
    """Take in the new rows of the sources in params.yaml, each interaction once.

    If a source fails, the others are still read and its error is raised at the end: MayPass where a
    retry may help, UserError where the user must fix something. `record` gets the result in either
    case.
    """
    sources = IntakeParams.load(layout.params).sources
    params = IngestParams.load(layout.params)
    if sources and params.format == "sequences":
        raise UserError(
            "a log of format 'sequences' has no times, so nothing can be added to it",
            "use a log with times, or empty intake.sources in params.yaml",
        )
    with locked(layout.state / "data.lock", sync.BUSY):
        sync.bring(layout, say)
        shutil.rmtree(read.work(layout), ignore_errors=True)  # left by a killed intake
        before = versions.digest(layout) or ""
        result = Intake(data_md5_before=before, data_md5_after=before)
        taking = _Taking(layout, params, say, batches.held(layout.data), result)
        for source in sources:
            taking.take(source)
        taking.finish()
    taken = replace(taking.result, data_md5_after=versions.digest(layout) or "")
    record(taken)
    if taking.failures:
        raise taking.failures[0]
    return taken


@dataclass
class _Taking:
    """An intake under way."""

    layout: Layout
    params: IngestParams
    say: Say
    held: list[Batch]
    result: Intake
    failures: list[UserError] = field(default_factory=list)
    done: list[tuple[Path, folder.Stamp]] = field(default_factory=list)
    """Files to move to taken/, with their stamps from before they were read."""

    def take(self, source: Source) -> None:
        """Take one source; its error is kept for the end."""
        try:
            if isinstance(source, Folder):
                self._folder(source)
            elif isinstance(source, Sql):
                self._query(source)
            else:
                self._address(source)
        except Exception as error:
            cause = circumstance(error)
            if cause is None:
                raise
            self._fail(source.kind, cause)

    def _fail(self, kind: str, error: UserError) -> None:
        self.say(f"{kind}: {error}")
        self.failures.append(error)

    def _folder(self, source: Folder) -> None:
        home, posted = self.layout.root / source.path, journal.events(self.layout)
        if home == posted.folder:
            posted.finish()
        for path in folder.files(home):
            self._file(path, f"folder:{source.path}")

    def _file(self, path: Path, source: str) -> None:
        """Take one file of a folder, as soon as it is whole."""
        if (reason := folder.no_file(path)) is not None:
            self._refuse(path, reason)
            return
        deadline = time.monotonic() + limits.PATIENCE
        while (before := folder.settled(path, deadline)) is not None:
            arrival = Arrival(
                path=path,
                source=source,
                name=folder.shown(path),
                whole=lambda stamp=before: folder.stamp(path) == stamp,  # type: ignore[misc]
            )
            try:
                self._count(self._store(arrival))
            except (Changed, FileNotFoundError):
                if time.monotonic() >= deadline:
                    break
                continue
            except PermissionError as error:
                self._fail("folder", _unreadable(path, error))
                return
            except NotInteractions as error:
                if not arrival.whole():
                    continue
                if folder.under_way(path):
                    break
                self._refuse(path, str(error))
                return
            except Exception as error:  # not the file's fault: it stays where it is
                cause = circumstance(error)
                if cause is None:
                    raise
                if not arrival.whole():
                    continue
                self._fail(f"folder: {folder.shown(path)}", cause)
                return
            self.done.append((path, before))
            return
        if folder.stamp(path) is not None:
            self._wait(path)

    def _refuse(self, path: Path, reason: str) -> None:
        self.say(f"{folder.shown(path)} is refused: {reason}")
        try:
            folder.refuse(path, reason)
        except PermissionError as error:
            self._fail("folder", _unreadable(path, error))
            return
        self.result.refused.append((folder.shown(path), reason))

    def _wait(self, path: Path) -> None:
        minutes = limits.UNENDED / 60
        self.say(
            f"{folder.shown(path)} is still being written: it is left for the next intake (a file "
            f"whose last line has no end is taken {minutes:g} minutes after its last change)"
        )
        self.result.waiting.append(folder.shown(path))

    def _query(self, source: Sql) -> None:
        from recctl.intake import sql

        name = f"sql:{source.name}"
        marks = [held.watermark for held in self.held if held.source == name and held.watermark]
        wanted = columns.wanted(self.params)
        with engine.scratch(read.work(self.layout)) as scratch:
            target = scratch / "rows.parquet"
            rows, mark = sql.fetch(
                source, wanted, marks[-1] if marks else None, self.layout.root, target
            )
            if rows == 0:
                self._count(Known(name, source.name, 0))
                return
            self._whole(Arrival(path=target, source=name, name=source.name, watermark=mark))

    def _address(self, source: Url) -> None:
        from recctl.intake import url

        home = self.layout.state / "intake" / f"url-{source.name}"
        path = url.fetch(source, self.params, home, self.say)
        self._whole(Arrival(path=path, source=f"url:{source.name}", name=source.name))
        path.unlink()

    def _whole(self, arrival: Arrival) -> None:
        """Take the rows of a query or an address; without a good row nothing of it is kept."""
        try:
            self._count(self._store(arrival))
        except NoGoodRow as error:
            self.say(f"{arrival.name} is refused: {error}")
            self.result.refused.append((arrival.name, str(error)))

    def _store(self, arrival: Arrival) -> Batch | Known:
        return read.store(self.layout, self.params, arrival, self.held)

    def _count(self, stored: Batch | Known) -> None:
        if isinstance(stored, Known):
            self.say(f"{stored.name}: nothing new")
            self.result.known.append(stored)
            return
        counts = (("bad", sum(stored.bad.values())), ("held already", stored.duplicates))
        why = "".join(f", {count:,} {name}" for name, count in counts if count)
        self.say(f"{stored.name}: {stored.new:,} new of {stored.rows:,} rows{why}")
        self.result.batches.append(stored)
        self.held.append(stored)

    def finish(self) -> None:
        """Add the batches to DVC, then move the files that it holds now."""
        if self.result.batches:
            seen = sync.listing(self.layout)
            versions.take(self.layout)
            sync.note(self.layout, seen)
        self._require_there()
        for path, stamp in self.done:
            if folder.stamp(path) != stamp:  # rows were added since: the next intake takes them
                continue
            try:
                folder.move(path, "taken")
            except PermissionError as error:
                self._fail("folder", _unreadable(path, error))

    def _require_there(self) -> None:
        """MayPass where a batch is gone from data/, so that no file is moved without its rows."""
        there = {path.name for path in batches.paths(self.layout.data)}
        gone = [batch.file for batch in self.held if batch.file not in there]
        if gone:
            raise MayPass(
                f"{', '.join(gone[:3])} was removed from data/{batches.FOLDER}/ during this intake",
                "run the intake again: the source still has the rows",
            )


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path.parent / folder.shown(path)} cannot be taken ({error.strerror})",
        "give the user that runs the intake the right to read and to move it",
    )
