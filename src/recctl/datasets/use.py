"""Known sets and logs of the user's own: what is copied into `data/` and how it is read."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recctl.data import engine, plain
from recctl.data.params import IngestParams
from recctl.datasets import addresses, convert, own_log, recognise
from recctl.datasets.catalogue import KNOWN, KnownSet
from recctl.datasets.download import Progress, download
from recctl.datasets.install import Used, install
from recctl.datasets.own_log import OwnLog
from recctl.datasets.preview import Preview, as_lines, of_files
from recctl.datasets.recognise import Entry, KnownLog
from recctl.errors import UserError, unknown_name
from recctl.layout import Layout
from recctl.redact import redact
from recctl.render.text import Say

ITEMS = "items.csv"


def use_known(
    layout: Layout, known: KnownSet, source: str | None, progress: Progress, say: Say
) -> Used:
    """Use a known set, from its publisher or from `source`: a path or another address."""
    if known.address is None and source is not None:
        raise UserError(f"'{known.name}' is generated, not read", "omit --from")

    def fill(folder: Path) -> Preview:
        if known.address is None:
            return of_files(folder, _generated(known, folder), layout.state)
        path, fetched = _local(layout, known, source, progress, say)
        try:
            with plain.called({path: redact(source)} if source else {}):
                known_log = _find_known(known, path)
        except UserError:
            if fetched:  # or the next attempt would use the same file again
                path.unlink()
            raise
        params = _fill_known(known.name, known_log, folder, _copy, say)
        with plain.called({folder / params.files[0]: str(known_log.entry)}):
            return of_files(folder, params, layout.state)

    return install(layout, fill, known.settings)


def use_files(layout: Layout, paths: list[Path], log: OwnLog, say: Say) -> Used:
    """Use a log of the user's own, or one of a known layout, in files, archives or folders.

    Says how the log is read before anything is changed.
    """
    _require(paths)

    def fill(folder: Path) -> Preview:
        result = _filled(layout, paths, log, folder, _copy, say)
        for line in as_lines(result):
            say(line)
        return result

    return install(layout, fill, {})


def preview(layout: Layout, paths: list[Path], log: OwnLog, say: Say) -> Preview:
    """The preview of what `use_files` would do; nothing is changed."""
    _require(paths)
    with engine.scratch(layout.state) as folder:
        return _filled(layout, paths, log, folder, _linked, say)


def _require(paths: list[Path]) -> None:
    for path in paths:
        name = str(path)
        if not path.exists() and ("/" in name or "." in name):
            raise UserError(f"no file or folder {name}", "give the path of an existing one")
        if not path.exists():
            raise unknown_name("data set or file", name, list(KNOWN))


Place = Callable[[Entry, Path], str]
"""Copies or links an entry into a folder and returns its name there."""


def _filled(
    layout: Layout, paths: list[Path], log: OwnLog, folder: Path, place: Place, say: Say
) -> Preview:
    """The preview of a log after its files are copied or linked into the folder."""
    known_log = recognise.find(paths[0]) if len(paths) == 1 and not log.described() else None
    if known_log and known_log.layout != "sequences" and not _unproven(known_log):
        params = _fill_known(log.name or _stem(paths[0]), known_log, folder, place, say)
        asked = {"minimum_weight": log.minimum_weight, "anonymous": log.anonymous}
        known = params.model_copy(update=asked)
        logs, files = [known_log.entry], params.files
    else:
        logs = [_one_entry(path) for path in paths]
        files = [place(entry, folder) for entry in logs]
        log, known = replace(log, name=log.name or _stem(logs[0].path)), None
    names = {folder / name: str(entry) for name, entry in zip(files, logs, strict=True)}
    with plain.called(names):
        if known is None:
            result = own_log.read(folder, files, log, layout.state)
        else:
            result = of_files(folder, known, layout.state)
    if log.items is None:
        return result
    convert.write_items(_one_entry(log.items), folder / ITEMS)
    ingest = result.ingest.model_copy(update={"items_file": ITEMS, "title_column": None})
    return replace(result, ingest=ingest)


def _unproven(known_log: KnownLog) -> bool:
    """Whether users and items could be swapped: four columns without header under another name."""
    if known_log.layout != "u.data" or known_log.entry.name.startswith("u.data"):
        return False
    return not recognise.has_header(recognise.head(known_log.entry), "\t")


def _generated(known: KnownSet, folder: Path) -> IngestParams:
    from recctl.datasets import starter

    starter.write(folder)
    return IngestParams(
        name=known.name, files=["interactions.csv.gz"], format="csv", items_file=ITEMS
    )


def _local(
    layout: Layout, known: KnownSet, source: str | None, progress: Progress, say: Say
) -> tuple[Path, bool]:
    """The path of the set's file, and whether it was downloaded."""
    address = source or known.address or ""
    if not address.startswith(addresses.WEB):
        with addresses.at_hand(layout, [address], progress, say) as paths:
            if len(paths) > 1:
                raise UserError(
                    f"{redact(address)} is a folder", "name the set's archive or file in it"
                )
            return paths[0], False
    name = Path(urlsplit(address).path).name or known.name
    target = layout.state / "downloads" / known.name / name
    if not target.exists():
        say(f"fetching {address}; licence: {known.licence}")
    checksum = known.checksum if address == known.address else None
    download(address, target, progress=progress, say=say, checksum=checksum)
    return target, True


def _find_known(known: KnownSet, path: Path) -> KnownLog:
    known_log = recognise.find(path, known.layouts)
    if known_log is None:
        other = recognise.find(path)
        like = f"; it looks like {other.layout}" if other else ""
        raise UserError(
            f"{path} does not hold {known.name} ({known.format}, or 'user item' lines){like}",
            "give another --from, or use it as your own data: recctl data use PATH",
        )
    return known_log


def _fill_known(name: str, log: KnownLog, folder: Path, place: Place, say: Say) -> IngestParams:
    """Put a log of a known layout, and its items, into the folder."""
    if log.layout in convert.RECORDS:
        file = "interactions.csv.gz"
        convert.write_records(log.entry, log.layout, folder / file, say)
    else:
        file = place(log.entry, folder)
    settings = _settings(log)
    if log.items is not None:
        convert.write_items(log.items, folder / ITEMS)
        settings["items_file"] = ITEMS
    return IngestParams(name=name, files=[file], **settings)


def _columns(header: list[str]) -> dict[str, str]:
    """The settings that name the columns of a header: user, item, rating, time."""
    roles = ("user_column", "item_column", "weight_column", "time_column")
    return dict(zip(roles, header, strict=True))


_RATINGS = ["user_id", "item_id", "rating", "timestamp"]
_HEADLESS = {"format": "csv", "columns": _RATINGS, "weight_column": "rating"}
_SETTINGS: dict[str, dict[str, Any]] = {
    "u.data": {**_HEADLESS, "format": "tsv"},
    "ratings.dat": {**_HEADLESS, "delimiter": "::"},
    "ratings.csv": {"format": "csv", **_columns(recognise.RATINGS_CSV.split(","))},
    "sequences": {"format": "sequences", "time_unit": "us"},
    "amazon-ratings": _HEADLESS,
    "amazon-ratings-2018": {**_HEADLESS, "columns": ["item_id", "user_id", *_RATINGS[2:]]},
    "amazon-reviews": {"format": "csv", "weight_column": "rating"},
    "steam-reviews": {"format": "csv", "time_unit": "iso"},
}
"""The ingest settings of each layout."""


def _settings(log: KnownLog) -> dict[str, Any]:
    """The ingest settings of a log; those of u.data name the columns of its header, if any."""
    lines = recognise.head(log.entry) if log.layout == "u.data" else []
    if not lines or not recognise.has_header(lines, "\t"):
        return dict(_SETTINGS[log.layout])
    return {"format": "tsv", **_columns(lines[0].split("\t"))}


def _one_entry(path: Path) -> Entry:
    """The single file at a path, which may be a zip archive of one file."""
    if path.is_dir():
        raise UserError(f"{path} is a folder", "name its files, such as folder/*.csv")
    files = recognise.entries(path)
    if len(files) != 1:
        raise UserError(f"{path} is an archive of {len(files)} files", "unpack it and name the log")
    return files[0]


def _stem(path: Path) -> str:
    return path.resolve().name.split(".")[0] or "own"


def _copy(entry: Entry, folder: Path) -> str:
    """Copy an entry into the folder and return its name there; what is compressed stays so."""
    name = _free_name(entry, folder)
    with recognise.opened(entry, packed=False) as source, (folder / name).open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return name


def _linked(entry: Entry, folder: Path) -> str:
    """The same by a symbolic link, unless the entry is in an archive."""
    if entry.member is not None:
        return _copy(entry, folder)
    name = _free_name(entry, folder)
    (folder / name).symlink_to(entry.path.resolve())
    return name


def _free_name(entry: Entry, folder: Path) -> str:
    """A free name without signs of a glob pattern; it ends in .gz if the file is gzip."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", entry.name).lstrip("._-").removesuffix(".gz") or "log"
    suffix = ".gz" if recognise.is_gzip(entry) else ""
    taken = {ITEMS, *(path.name for path in folder.iterdir())}
    names = [f"{name}{suffix}", *(f"{n}-{name}{suffix}" for n in range(1, len(taken) + 2))]
    return next(candidate for candidate in names if candidate not in taken)
