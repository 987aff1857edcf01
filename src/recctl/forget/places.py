"""Every place of a project that keeps users: each function removes them, or counts with `dry`."""

import contextlib
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recctl import dvc, git, journal
from recctl.data import batches, engine, versions
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.forget import rows
from recctl.forget.remotes import remove_from
from recctl.forget.rows import Users
from recctl.intake import folder, read
from recctl.intake.params import Folder, IntakeParams
from recctl.layout import Layout
from recctl.promotion.trial import pseudonyms


@dataclass(frozen=True)
class Removed:
    """What was removed from one place."""

    place: str
    count: int
    what: str
    """Of what: rows, files."""


def data(layout: Layout, users: Users, *, dry: bool) -> Iterator[Removed]:
    """Base files, batches of intakes, rejected batches, drop folders, what the service keeps."""
    params = IngestParams.load(layout.params)
    for name in params.files:
        count = _from_log(layout, layout.data / name, params, name, users, dry)
        yield Removed(f"data/{name}", count, "rows")
    batched = {"data/intake/": batches.paths(layout.data)}
    batched[".recctl/rejected/"] = sorted(layout.state.glob("rejected/*/*.parquet"))
    for place, paths in batched.items():
        count = sum(rows.remove_from_batch(path, users, dry=dry) for path in paths)
        yield Removed(place, count, "rows")
    events = journal.events(layout).folder
    for source in IntakeParams.load(layout.params).sources:
        if isinstance(source, Folder) and layout.root / source.path != events:
            yield from _dropped(layout, layout.root / source.path, params, users, dry)
    yield from _served(layout, params, users, dry)


def _served(layout: Layout, params: IngestParams, users: Users, dry: bool) -> Iterator[Removed]:
    """What the service keeps: its logs become whole files first, which lose the rows."""
    posted, shown = journal.events(layout), journal.exposures(layout)
    names = {one for key in pseudonyms.keys(layout) for one in pseudonyms.of(key, users.ids)}
    named = Users(frozenset(names), _SHOWN.user_column)
    if dry:
        waiting = sum(users.has(row[0]) for row in posted.waiting())
        waiting += sum(named.has(row[2]) for row in shown.waiting())
        yield Removed(".recctl/served/", waiting, "rows")
    else:
        posted.finish()
        shown.finish()
    yield from _dropped(layout, posted.folder, params, users, dry)
    count = sum(_from_log(layout, path, _SHOWN, path.name, named, dry) for path in shown.files())
    yield Removed(".recctl/served/exposures/", count, "rows")
    if layout.served.is_dir() and not dry:
        journal.mark(layout).touch()


def _from_log(
    layout: Layout, path: Path, params: IngestParams, name: str, users: Users, dry: bool
) -> int:
    with engine.scratch(layout.state) as scratch:
        own = params.model_copy(update={"files": [name]})
        return rows.remove(path, own, users, scratch, dry=dry)


_SHOWN = IngestParams(
    name="exposures",
    files=["exposures"],
    format="parquet",
    user_column="user",
    item_column="items",
    time_column="time",
)
"""How the exposure log is read."""


def _dropped(
    layout: Layout, home: Path, params: IngestParams, users: Users, dry: bool
) -> Iterator[Removed]:
    for place in (home, home / "taken", home / "refused"):
        count = 0
        for path in folder.files(place):
            if folder.no_file(path) is None:
                count += _from_dropped(layout, path, params, users, dry)
        name = place.relative_to(layout.root) if place.is_relative_to(layout.root) else place
        yield Removed(f"{name}/", count, "rows")


def _from_dropped(layout: Layout, path: Path, params: IngestParams, users: Users, dry: bool) -> int:
    try:
        own = read.reading(path, folder.shown(path), params)
        return _from_log(layout, path, own, path.name, users, dry)
    except UserError:  # it is no log of interactions
        with engine.scratch(layout.state) as scratch:
            return rows.remove_lines(path, users, scratch, dry=dry)


def unread(layout: Layout, users: Users) -> list[str]:
    """The files in data/ that hold the users and are no part of the log."""
    params = IngestParams.load(layout.params)
    known = {layout.data / name for name in (*params.files, params.items_file or "")}
    known |= set(batches.paths(layout.data))
    files = sorted(path for path in layout.data.rglob("*") if path.is_file() and path not in known)
    return [str(path.relative_to(layout.root)) for path in files if rows.holds(path, users)]


def derived(layout: Layout, users: Users, *, dry: bool) -> Iterator[Removed]:
    """What the pipeline, intakes and backfills make again: deleted where it holds the users."""
    copies = [*layout.state.glob("backfill/*"), *layout.root.glob(".dvc/tmp/exps/*")]
    held = [copy for copy in copies if any(rows.holds(path, users) for path in _files(copy))]
    yield Removed(".recctl/backfill/, .dvc/tmp/exps/", len(held), "folders")
    made = {"artifacts/": sorted(layout.root.glob("artifacts/**/*.parquet"))}
    kept = [
        path
        for name in ("intake", "tables-*", "describe-*", "downloads")
        for path in layout.state.glob(name)
    ]
    made[".recctl/"] = [
        path for folder in kept for path in _files(folder) if path.suffix != ".json"
    ]
    for place, paths in made.items():
        found = [path for path in paths if rows.holds(path, users)]
        yield Removed(place, len(found), "files")
        # histories without ids are still the users': the folder goes with their list
        held += [path.parent if path.name == "users.parquet" else path for path in found]
    for path in held if not dry else ():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if not dry:
        (layout.state / "accepted.json").unlink(missing_ok=True)  # it names a former version


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


_OURS = {
    *("model.json", "vocabulary.json", "model.safetensors", "items.parquet", "report.json"),
    *("metrics.json", "run.json", "curve.csv", "hr_at_k.csv", "slices.csv"),
}
"""Files that stages write and that never hold a user."""
_OBJECT = re.compile(r"\b[0-9a-f]{32}(?:\.dir)?\b")


def cache(
    layout: Layout, users: Users, *, dry: bool, remotes: list[str]
) -> tuple[list[Removed], list[str]]:
    """Former versions in DVC's cache and in remotes; also a line for each remote not reached.

    The remotes lose what the cache holds then: all versions that git's history names are fetched
    first.
    """
    unreached: list[str] = []

    def remove(name: str, digests: set[str], dry: bool) -> int | None:
        try:
            return remove_from(layout, name, digests, dry=dry)
        except UserError as error:
            unreached.append(f"DVC's remote '{name}': {error.what}")
            return None

    reached = [name for name in remotes if remove(name, set(), True) is not None]
    for name in reached:  # what was never pushed cannot be fetched
        dvc.ask(layout, "fetch", "--all-commits", "--remote", name)
    home = dvc.cache(layout)
    version = versions.digest(layout)
    keep: set[str] = set()
    if version and not dry:  # before a dry run it holds the users
        keep = {version, *(versions.files(layout, version) or {}).values()}
    listings, names = _listings(layout, home)
    params = IngestParams.load(layout.params)
    found = set()
    for path in _objects(layout, home):
        digest = path.parent.name + path.name
        if digest in keep or digest.endswith(".dir"):
            continue
        if _holds(layout, path, names.get(digest, set()), params, users):
            found.add(digest)
    found |= {one for one, held in listings.items() if held & found and one not in keep}
    removed = [Removed("DVC's cache", len(found), "objects")]
    for name in reached:
        if (count := remove(name, found, dry)) is not None:
            removed.append(Removed(f"DVC's remote '{name}'", count, "objects"))
    for digest in found if not dry else ():
        dvc.stored(home, digest).unlink(missing_ok=True)
    return removed, unreached


def _holds(
    layout: Layout, path: Path, called: set[str], params: IngestParams, users: Users
) -> bool:
    """Whether an object of the cache holds the users; a base file is read as the log is."""
    free = {*_OURS, params.items_file}
    with path.open("rb") as file:
        if file.read(2) == b"{\n" or (called and {Path(name).name for name in called} <= free):
            return False  # a report or settings, as recctl writes JSON
    if called & set(params.files):
        with contextlib.suppress(UserError):  # it was read otherwise once
            return _from_log(layout, path, params, path.name, users, dry=True) > 0
    return rows.holds(path, users)


def _listings(layout: Layout, home: Path) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The folders in the cache, each with the digests of its files; and the files' names."""
    held: dict[str, set[str]] = {}
    names: dict[str, set[str]] = defaultdict(set)
    for path in _objects(layout, home):
        if path.suffix == ".dir":
            digest = path.parent.name + path.name
            files = dvc.listed(home, digest) or {}
            held[digest] = set(files.values())
            for name, one in files.items():
                names[one].add(name)
    return held, names


def _objects(layout: Layout, home: Path) -> list[Path]:
    """The objects in the cache; of one outside the project, which others may use, only its own."""
    if home.resolve().is_relative_to(layout.root.resolve()):
        return sorted(path for path in (home / "files" / "md5").glob("*/*") if path.is_file())
    texts = [path.read_text() for name in git.FILES if (path := layout.root / name).is_file()]
    with contextlib.suppress(UserError):  # not in git
        texts.append(git.git(layout.root, "log", "--all", "-p", "--", *git.FILES))
    roots = {digest for text in texts for digest in _OBJECT.findall(text)}
    held = {file for one in roots for file in (dvc.listed(home, one) or {}).values()}
    return [path for one in sorted(roots | held) if (path := dvc.stored(home, one)).is_file()]
