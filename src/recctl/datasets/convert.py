"""Converts files of items to items.csv, and logs of one record per line to csv."""

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recctl.datasets import recognise
from recctl.datasets.recognise import Entry
from recctl.errors import UserError

ITEMS_HEADER = ["item_id", "title", "genres"]

_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""The flags at the end of a u.item line, in the order of MovieLens 100K's README."""

Item = tuple[str, str, str]


def write_items(entry: Entry, target: Path) -> None:
    """Write a file that names items as `item_id,title,genres` in UTF-8, genres with `|` between.

    Raises UserError when the entry has none of the known layouts.
    """
    form = recognise.item_layout(entry)
    if form is None:
        raise UserError(
            f"{entry} is not a known kind of items file",
            "give a csv with the columns item_id and title",
        )
    with recognise.opened(entry) as file:
        text = recognise.decoded(file.read())
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(ITEMS_HEADER)
        writer.writerows(_ITEMS[form](text))


def _u_item(text: str) -> Iterator[Item]:
    for line in text.splitlines():
        fields = line.split("|")
        if fields[0].isdigit():
            flags = zip(_GENRES, fields[5:], strict=True)
            yield fields[0], fields[1], "|".join(genre for genre, flag in flags if flag == "1")


def _movies_dat(text: str) -> Iterator[Item]:
    for line in text.splitlines():
        if line:
            item, title, genres = line.split("::")
            yield item, title, genres


def _table(text: str, item: str) -> Iterator[Item]:
    for row in csv.DictReader(io.StringIO(text)):
        genres = (row.get("genres") or "").replace("(no genres listed)", "")
        yield row[item], row["title"], genres


_ITEMS: dict[str, Callable[[str], Iterator[Item]]] = {
    "u.item": _u_item,
    "movies.dat": _movies_dat,
    "movies.csv": lambda text: _table(text, "movieId"),
    "items.csv": lambda text: _table(text, "item_id"),
}

RECORDS = {
    "amazon-reviews": {
        "user_id": "reviewerID",
        "item_id": "asin",
        "rating": "overall",
        "timestamp": "unixReviewTime",
    },
    "steam-reviews": {"user_id": "username", "item_id": "product_id", "timestamp": "date"},
}
"""The fields kept of a record, by layout: our column and the record's key."""


def write_records(entry: Entry, layout: str, target: Path, say: Callable[[str], None]) -> int:
    """Write a log of one record per line as csv.gz, and return the number of rows.

    A record without one of the keys gives an empty field, which ingest reports. Raises UserError
    when a line is no record.
    """
    keys = RECORDS[layout]
    count = 0
    with _gzip_csv(target) as writer:
        writer.writerow(keys)
        for row in _records(entry, list(keys.values())):
            writer.writerow(row)
            count += 1
            if count % 500_000 == 0:
                say(f"{count:,} rows of {entry.name} converted")
    return count


@contextmanager
def _gzip_csv(target: Path) -> Iterator[Any]:
    """A csv writer to a gzip file; the same rows give the same bytes."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        yield csv.writer(text, lineterminator="\n")


def _records(entry: Entry, keys: list[str]) -> Iterator[list[Any]]:
    with recognise.opened(entry) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            value = recognise.record(line.decode("utf-8", errors="replace").strip())
            if value is None:
                raise UserError(f"{entry}: line {number} is not a record", "get the file again")
            yield [value.get(key, "") for key in keys]
