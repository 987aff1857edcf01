"""A project with a champion, in every place of which a user's id is kept; and a search for it."""

import gzip
import io
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import small_project as small

import databases
from recctl import journal
from recctl.files import write_json
from recctl.layout import Layout
from recctl.promotion.trial import pseudonyms

ID = "forgotten-7f3e@example.com"


def make(root: Path) -> Layout:
    """A project in git and DVC whose data, drop folders, artifacts and evidence hold the user."""
    if databases.SHARED in os.environ:
        shutil.copytree(databases.once("forget", _make), root, symlinks=True)
        return Layout(root)
    _make(root)
    return Layout(root)


def _make(root: Path) -> None:
    from recctl.data import versions
    from recctl.promotion.view import plots

    plots.intervals = lambda body, path: path.write_bytes(b"a picture")  # type: ignore[assignment]
    layout = small.make(root)
    log = layout.data / "log.csv"
    log.write_text(log.read_text().replace("u000,", f"{ID},"))
    versions.take(layout)
    small.git(root, "commit", "-qam", "the user")
    small.settings(layout, train={"device": "cpu", "model": "item-knn"})
    path = small.drop(layout, 10, 11)
    text = path.read_text().replace("u000,", f"{ID},") + f"{ID},,5\n"
    _write(path, text)
    _write(root / "incoming" / "odd.csv", f"name\n{ID}\nother\n")
    result = small.retrain(layout)
    assert result.name == "promoted-v1", result.sentence
    _write(
        root / "incoming" / "later.csv.gz", gzip.compress(f"user,item,time\n{ID},i1,9\n".encode())
    )
    _serve(layout)
    copy = layout.state / "backfill" / "some" / "data"
    copy.mkdir(parents=True)
    shutil.copy(log, copy)
    write_json(copy / "other.json", {})


def _serve(layout: Layout) -> None:
    """What a service was sent and what it showed: in whole files, and in logs."""
    events, shown = journal.events(layout), journal.exposures(layout)
    pseudonym = pseudonyms.of(pseudonyms.key(layout), [ID])[0]
    for us in (1, 2):
        events.append([[(user, "i1", us, None, None) for user in (ID, "u001")]])
        row = (1, 1, ["i1"]) if us == 1 else (1, 1, ["i1"], 2, [2])
        shown.append([[(f"r{us}", us, user, *row) for user in (pseudonym, "other", None)]])
        if us == 1:
            events.finish()
            shown.finish()


def _write(path: Path, content: str | bytes) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (path.stat().st_mtime - 3600,) * 2)


def names_of(root: Path, id: str = ID) -> list[str]:
    """Every file below a folder that holds the id, compressed content and databases included."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and any(id.encode() in part for part in _contents(path)):
            found.append(path.relative_to(root).as_posix())
    return found


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield str(path).encode()
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    if content.startswith(b"PAR1"):
        yield str(pq.read_table(io.BytesIO(content)).to_pydict()).encode()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name)
    if content.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as connection:
            yield "\n".join(connection.iterdump()).encode()
