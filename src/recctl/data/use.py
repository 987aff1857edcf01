"""What goes into `data/` and how it is read: known sets, and logs of the user's own."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from recctl.data import convert, inspect, recognise
from recctl.data.catalogue import KNOWN, KnownSet
from recctl.data.download import Progress, download
from recctl.data.install import Used, install
from recctl.data.params import Format, IngestParams, TimeUnit
from recctl.data.recognise import Entry, Found
from recctl.errors import UserError, unknown_name
from recctl.layout import Layout

Say = Callable[[str], None]

ITEMS = "items.csv"


@dataclass(frozen=True, kw_only=True)
class OwnLog:
    """What a user says of a log; None where the log is to tell."""

    name: str | None = None
    format: Format | None = None
    delimiter: str | None = None
    columns: list[str] | None = None
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    weight_column: str | None = None
    time_unit: TimeUnit | None = None
    items: Path | None = None


def use_known(
    layout: Layout, known: KnownSet, source: str | None, progress: Progress, say: Say
) -> Used:
    """Use a known set, from its publisher or from `source`: a path or another address."""
    if known.address is None and source is not None:
        raise UserError(f"'{known.name}' is generated, not read", "leave --from out")

    def fill(folder: Path) -> IngestParams:
        if known.address is None:
            return _generated(known, folder)
        path, fetched = _local(layout, known, source, progress, say)
        try:
            found = _find_known(known, path)
        except UserError:
            if fetched:  # or the next try would find the same file again
                path.unlink()
            raise
        return _fill_found(known.name, found, folder, say)

    return install(layout, fill, known.settings)


def use_files(layout: Layout, paths: list[Path], log: OwnLog, say: Say) -> Used:
    """Use a log of the user's own, or one whose form is known, in files, archives or folders."""
    for path in paths:
        if not path.exists():
            raise _no_such(str(path))

    def fill(folder: Path) -> IngestParams:
        found = recognise.find(paths[0]) if len(paths) == 1 and not _is_described(log) else None
        if found and found.layout != "sequences":
            params = _fill_found(log.name or _stem(paths[0]), found, folder, say)
        else:
            params = _fill_own([_one_entry(path) for path in paths], log, folder)
        if log.items is not None:
            convert.write_items(_one_entry(log.items), folder / ITEMS)
            params = params.model_copy(update={"items_file": ITEMS})
        return params

    return install(layout, fill, {})


def _is_described(log: OwnLog) -> bool:
    """Whether the user says how the log is to be read."""
    return replace(log, name=None, items=None) != OwnLog()


def _no_such(name: str) -> UserError:
    if "/" in name or "." in name:
        return UserError(f"no file or folder {name}", "give the path of an existing one")
    return unknown_name("data set or file", name, list(KNOWN))


def _generated(known: KnownSet, folder: Path) -> IngestParams:
    from recctl.data import starter

    starter.write(folder)
    return IngestParams(
        name=known.name, files=["interactions.csv.gz"], format="csv", items_file=ITEMS
    )


def _local(
    layout: Layout, known: KnownSet, source: str | None, progress: Progress, say: Say
) -> tuple[Path, bool]:
    """The set's file on this machine, and whether it was fetched for that."""
    address = source or known.address or ""
    if not address.startswith(("http://", "https://")):
        return Path(address), False
    name = Path(urlsplit(address).path).name or known.name
    target = layout.state / "downloads" / known.name / name
    if not target.exists():
        say(f"fetching {address}; licence: {known.licence}")
    checksum = known.checksum if address == known.address else None
    download(address, target, progress=progress, say=say, checksum=checksum)
    return target, True


def _find_known(known: KnownSet, path: Path) -> Found:
    found = recognise.find(path, known.layouts)
    if found is None:
        other = recognise.find(path)
        like = f"; it looks like {other.layout}" if other else ""
        raise UserError(
            f"{path} does not hold {known.name} ({known.format}, or 'user item' lines){like}",
            "give another --from, or use it as data of your own: recctl data use PATH",
        )
    return found


def _fill_found(name: str, found: Found, folder: Path, say: Say) -> IngestParams:
    """Put a log of a known layout, and its items, into the folder."""
    if found.layout in convert.RECORDS:
        file = "interactions.csv.gz"
        convert.write_records(found.log, found.layout, folder / file, say)
    else:
        file = _copy(found.log, folder)
    shape = _shape(found)
    if found.items is not None:
        convert.write_items(found.items, folder / ITEMS)
        shape["items_file"] = ITEMS
    return IngestParams(name=name, files=[file], **shape)


_RATINGS = ["user_id", "item_id", "rating", "timestamp"]


def _shape(found: Found) -> dict[str, Any]:
    """The ingest settings of a layout."""
    if found.layout == "sequences":
        return {"format": "sequences", "time_unit": "us"}
    if found.layout == "steam-reviews":
        return {"format": "csv", "time_unit": "iso"}
    if found.layout == "amazon-reviews":
        return {"format": "csv", "weight_column": "rating"}
    headless = {"format": "csv", "columns": _RATINGS, "weight_column": "rating"}
    if found.layout == "ratings.dat":
        return {**headless, "delimiter": "::"}
    if found.layout == "amazon-ratings":
        return headless
    separator = "\t" if found.layout == "u.data" else ","
    lines = recognise.head(found.log)
    if not recognise.has_header(lines, separator):
        return {**headless, "format": "tsv"}
    user, item, rating, time = lines[0].split(separator)
    return {
        "format": "tsv" if separator == "\t" else "csv",
        "user_column": user,
        "item_column": item,
        "weight_column": rating,
        "time_column": time,
    }


def _one_entry(path: Path) -> Entry:
    """The single file that a path stands for."""
    if path.is_dir():
        raise UserError(f"{path} is a folder", "name its files, such as folder/*.csv")
    files = recognise.entries(path)
    if len(files) != 1:
        raise UserError(f"{path} is an archive of {len(files)} files", "unpack it, name the log")
    return files[0]


def _fill_own(logs: list[Entry], log: OwnLog, folder: Path) -> IngestParams:
    """Look at the user's files, then put them into the folder."""
    asked = _asked_columns(log)
    form, delimiter = log.format, log.delimiter
    if form is None:
        form, delimiter = inspect.guess_format(logs[0], set(asked))
        delimiter = log.delimiter or delimiter
    unit = _look(logs, replace(log, format=form, delimiter=delimiter), asked)
    columns = {} if form == "sequences" else _column_settings(log)
    return IngestParams(
        name=log.name or _stem(logs[0].path),
        files=[_copy(entry, folder) for entry in logs],
        format=form,
        delimiter=delimiter,
        columns=log.columns,
        time_unit=unit,
        **columns,
    )


def _asked_columns(log: OwnLog) -> dict[str, str]:
    asked = {
        log.user_column: "--user-column",
        log.item_column: "--item-column",
        log.time_column: "--time-column",
    }
    if len(asked) < 3:
        raise UserError("user, item and time must be three columns", "name each of them")
    if log.weight_column is not None:
        asked[log.weight_column] = "--weight-column"
    return asked


def _column_settings(log: OwnLog) -> dict[str, Any]:
    return {
        "user_column": log.user_column,
        "item_column": log.item_column,
        "time_column": log.time_column,
        "weight_column": log.weight_column,
    }


def _look(logs: list[Entry], log: OwnLog, asked: dict[str, str]) -> TimeUnit:
    """Check the first rows of every file, and tell the unit of the times they agree on."""
    assert log.format is not None
    units: dict[TimeUnit, Entry] = {}
    for entry in logs:
        rows = inspect.sample(entry, log.format, log.delimiter, log.columns)
        if log.format == "sequences":
            units.setdefault("us", entry)
            continue
        inspect.require_columns(entry, rows, asked)
        if log.time_unit is None:
            units.setdefault(inspect.time_unit(entry, rows, log.time_column), entry)
    if len(units) > 1:
        seen = ", ".join(f"{unit} in {entry}" for unit, entry in units.items())
        raise UserError(f"the files' times have different units ({seen})", "convert them to one")
    return log.time_unit if log.time_unit is not None else next(iter(units))


def _stem(path: Path) -> str:
    return path.resolve().name.split(".")[0] or "own"


def _copy(entry: Entry, folder: Path) -> str:
    """Copy an entry into the folder and return its name there; gzip stays gzip, read to its end."""
    name = _free_name(entry, folder)
    if recognise.is_gzip(entry):
        with recognise.opened(entry) as unpacked:
            while unpacked.read(2**22):
                pass
    with recognise.opened(entry, packed=False) as source, (folder / name).open("wb") as target:
        shutil.copyfileobj(source, target, 2**20)
    return name


def _free_name(entry: Entry, folder: Path) -> str:
    """A name that no reader takes for a pattern or a hidden file and that tells of gzip."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", entry.name).lstrip("._-").removesuffix(".gz") or "log"
    suffix = ".gz" if recognise.is_gzip(entry) else ""
    taken = {ITEMS, *(path.name for path in folder.iterdir())}
    names = [f"{name}{suffix}", *(f"{n}-{name}{suffix}" for n in range(1, len(taken) + 2))]
    return next(candidate for candidate in names if candidate not in taken)
