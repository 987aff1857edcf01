"""A database query as a file: the rows after a watermark, streamed into parquet."""

import contextlib
import itertools
import math
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recctl import limits
from recctl.errors import MayPass, UserError
from recctl.intake import secrets
from recctl.intake.params import Sql

if TYPE_CHECKING:
    from sqlalchemy import URL, TextClause

CHUNK = 50_000
"""Rows fetched at a time."""
_SECONDS_TO_CONNECT = 10
_TIMED = ("postgresql", "mysql", "mariadb")
"""Databases whose drivers take a `connect_timeout`."""

Mark = int | float | str | Decimal | datetime | date
"""A watermark as the database returns it."""


def fetch(
    source: Sql, columns: Sequence[str], last: dict[str, Any] | None, root: Path, target: Path
) -> tuple[int, dict[str, Any] | None]:
    """Write the rows after the watermark `last` to a parquet file.

    Returns the number of rows and the new watermark. `columns` are user, item, time and perhaps
    weight. Ids and weights become text, times stay times (UTC where they have no zone). Raises
    MayPass when the database cannot be reached, UserError when the url or the query is wrong.
    """
    setting = f"the url of source '{source.name}'"
    url = _url(source, setting, root)
    statement = _statement(source)
    before = decode(last) if last else None
    if before is not None and not _leaves_room(before):  # no value could follow it
        before = None
    start = source.initial if before is None else _start(before, source)
    with (
        _one_line(source, url),
        contextlib.closing(_chunks(source, url, statement, start, columns)) as chunks,
    ):
        return _write(chunks, columns, before, source, target)


def _start(before: Mark, source: Sql) -> Mark:
    """The watermark for the query; the initial one if the overlap exceeds the type's range."""
    try:
        start = back(before, source.overlap, source.name)
    except (OverflowError, ArithmeticError):
        return source.initial
    return start if _leaves_room(start) else source.initial


def _url(source: Sql, setting: str, root: Path) -> "URL":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    text = secrets.resolved(source.url, setting)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UserError(
            f"{setting} is not a url",
            "write one such as postgresql://host/database or sqlite:///file",
        ) from None
    secrets.require_open(source.url, setting, bool(url.password))
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return url
    path = root / url.database  # connecting would create a missing file
    if not path.is_file():
        raise UserError(f"no database {path}, which {setting} names", "correct the url")
    return url.set(database=str(path))


def _statement(source: Sql) -> "TextClause":
    from sqlalchemy import text

    statement = text(source.query)
    names = set(statement.compile().params)
    if names != {"watermark"}:
        others = ", ".join(f":{name}" for name in sorted(names - {"watermark"}))
        what = f"has {others} besides" if others else "does not use"
        raise UserError(
            f"the query of source '{source.name}' {what} :watermark",
            "use it as the last value read, as in 'where id > :watermark', or with >= where "
            "several rows can have one value, as with times",
        )
    return statement


@contextlib.contextmanager
def _one_line(source: Sql, url: "URL") -> Iterator[None]:
    """Turns errors of the database into one line without secrets."""
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

    where = f"source '{source.name}'"
    try:
        yield
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise UserError(
            f"{where} needs a driver that is not installed ({error})", "install it with pip"
        ) from None
    except UserError:
        raise
    except (ValueError, OverflowError, TypeError, pa.ArrowException) as error:
        # such as the year 10000, years before Christ, mixed types
        raise UserError(
            f"{where}: the database returns a value that cannot be read ({str(error)[:200]})",
            "cast it to a number, a text or a time of the years 1 to 9999 in the query",
        ) from None
    except SQLAlchemyError as error:
        text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        reason = secrets.hidden(text, url.password)
        if _may_pass(error, url, reason):
            raise MayPass(f"{where}: the database does not answer ({reason})") from None
        raise UserError(
            f"{where}: the database refuses ({reason})", "correct its query, url or rights"
        ) from None


_LASTING = ("authentication failed", "no password supplied", "does not exist", "access denied")
_SQLITE_PASSING = ("locked", "busy", "disk i/o")


def _may_pass(error: Exception, url: "URL", reason: str) -> bool:
    from sqlalchemy.exc import InterfaceError, OperationalError

    if not isinstance(error, OperationalError | InterfaceError):
        return False
    text = reason.lower()
    if url.get_backend_name() == "sqlite":
        return any(word in text for word in _SQLITE_PASSING)
    return not any(word in text for word in _LASTING)


Chunk = dict[str, Sequence[Any]]


def _chunks(
    source: Sql, url: "URL", statement: "TextClause", start: Mark, columns: Sequence[str]
) -> Generator[Chunk]:
    """The rows by column, in chunks; the database streams them if its driver can."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    limit = {"connect_timeout": _SECONDS_TO_CONNECT}
    timed = url.get_backend_name() in _TIMED
    engine = create_engine(url, poolclass=NullPool, connect_args=limit if timed else {})
    with engine.connect() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=CHUNK)
        result = streaming.execute(statement, {"watermark": start})
        names = list(result.keys())
        places = {name: _place(source, names, name) for name in {*columns, source.watermark}}
        for rows in result.partitions(CHUNK):
            values = list(zip(*rows, strict=True))
            yield {name: values[place] for name, place in places.items()}


def _place(source: Sql, names: list[str], name: str) -> int:
    if name not in names:
        raise UserError(
            f"the query of source '{source.name}' has no column '{name}'",
            f"name it with 'as' in the query; its columns: {', '.join(names)}",
        )
    return names.index(name)


def _write(
    chunks: Iterator[Chunk],
    columns: Sequence[str],
    before: Mark | None,
    source: Sql,
    target: Path,
) -> tuple[int, dict[str, Any] | None]:
    """Write the chunks; the number of rows, and the highest watermark including `before`."""
    time = columns[2]
    ahead, known = _until_a_time(chunks, time)
    types = dict.fromkeys(columns, pa.string())
    if isinstance(known, date):
        types[time] = pa.timestamp("us", "UTC")
    rows, mark = 0, before
    with pq.ParquetWriter(target, pa.schema(types)) as writer:
        for chunk in itertools.chain(ahead, chunks):
            arrays = [_array(chunk[name], kind) for name, kind in types.items()]
            writer.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(types)))
            mark = _highest(mark, chunk[source.watermark], source)
            rows += len(chunk[time])
    return rows, None if mark is None else encode(mark)


def _until_a_time(chunks: Iterator[Chunk], time: str) -> tuple[list[Chunk], Any]:
    """The chunks up to the first with a time that is not null, and that time."""
    ahead = []
    for chunk in chunks:
        ahead.append(chunk)
        known = next((value for value in chunk[time] if value is not None), None)
        if known is not None:
            return ahead, known
    return ahead, None


def _array(values: Sequence[Any], kind: Any) -> pa.Array:
    """A column as text or as times; times without a zone are UTC."""
    if kind != pa.string():
        return pa.array([_moment(value) for value in values], kind)
    types = set(map(type, values))
    if types <= {str, type(None)}:
        return pa.array(values, kind)
    return pa.array([_text(value) for value in values], kind)


def _moment(value: date | None) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day)


def _text(value: Any) -> str | None:
    """An id, a weight or a number of seconds as text; 7.0 as 7, since some drivers return floats.

    >>> _text(7.0), _text(7), _text(b"seven"), _text(Decimal("7.50"))
    ('7', '7', 'seven', '7.50')
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _highest(mark: Mark | None, values: Sequence[Mark | None], source: Sql) -> Mark | None:
    present = [value for value in values if value is not None]
    if (wrong := next((value for value in present if not _leaves_room(value)), None)) is not None:
        raise UserError(
            f"the watermark column '{source.watermark}' of source '{source.name}' holds "
            f"{str(wrong)[:40]}, which is too large for a watermark: no value could follow it",
            "exclude such rows in the query, or cast the column",
        )
    try:
        return max(present if mark is None else [mark, *present], default=None)
    except TypeError:
        kinds = {type(value).__name__ for value in [mark, *present] if value is not None}
        raise UserError(
            f"the watermark column '{source.watermark}' of source '{source.name}' holds values "
            f"that do not compare ({', '.join(sorted(kinds))})",
            "cast it to one type in the query; with another column, give the source another name",
        ) from None


_MOST = limits.WATERMARK


def _leaves_room(mark: Mark) -> bool:
    """Whether other values can be below and above: false for infinity and the ends of a type."""
    if isinstance(mark, date):
        return mark.year <= limits.WATERMARK_YEAR
    if isinstance(mark, str):
        return len(mark) <= limits.WATERMARK_TEXT
    if isinstance(mark, float | Decimal) and not math.isfinite(mark):
        return False
    return not isinstance(mark, int | float | Decimal) or -_MOST <= mark <= _MOST


_TYPES: dict[str, tuple[type, Callable[[Any], Mark]]] = {
    "int": (int, int),
    "float": (float, float),
    "decimal": (Decimal, Decimal),
    "text": (str, str),
    "time": (datetime, datetime.fromisoformat),  # before date, of which it is a subclass
    "date": (date, date.fromisoformat),
}
"""By name: the type, and how it is read.

Not pydantic's types: these drop the seconds of an offset such as +00:53:28, which PostgreSQL gives
for times before 1900, so that a watermark would move past rows not yet taken.
"""


def encode(mark: Mark) -> dict[str, Any]:
    """A watermark as JSON.

    >>> encode(7), encode(datetime(2020, 1, 2, 3))
    ({'type': 'int', 'value': 7}, {'type': 'time', 'value': '2020-01-02T03:00:00'})
    """
    name = next((name for name, (kind, _) in _TYPES.items() if isinstance(mark, kind)), None)
    if name is None:
        raise UserError(
            f"a watermark cannot be of the type {type(mark).__name__}",
            "let the query return a number, a text or a time",
        )
    if isinstance(mark, date):
        return {"type": name, "value": mark.isoformat()}
    return {"type": name, "value": str(mark) if isinstance(mark, Decimal) else mark}


def decode(stored: dict[str, Any]) -> Mark:
    """The watermark that `encode` was given.

    >>> decode(encode(Decimal("1.50")))
    Decimal('1.50')
    """
    _, read = _TYPES[stored["type"]]
    return read(stored["value"])


def back(mark: Mark, overlap: float, name: str = "") -> Mark:
    """A watermark minus the overlap.

    >>> back(100, 10.0), back("2020-01-01T00:00:10Z", 10.0)
    (90, '2020-01-01T00:00:00Z')
    """
    if not overlap:
        return mark
    if isinstance(mark, datetime):
        return mark - timedelta(seconds=overlap)
    if isinstance(mark, date):
        return mark - timedelta(days=math.ceil(overlap / 86_400))
    if isinstance(mark, str):
        return _text_back(mark, overlap, name)
    if isinstance(mark, Decimal):
        return mark - Decimal(repr(overlap))
    return mark - (math.ceil(overlap) if isinstance(mark, int) else overlap)


def _text_back(mark: str, overlap: float, name: str) -> str:
    """ISO 8601 text in the same form, because the database compares it as text."""
    try:
        time = datetime.fromisoformat(mark) - timedelta(seconds=overlap)
    except ValueError:
        raise UserError(
            f"source '{name}' has an overlap, but its watermark {mark[:40]!r} is text and no time",
            "let the query return a number or a time, or omit the overlap",
        ) from None
    if len(mark) <= len("2020-01-01"):
        return time.date().isoformat()
    fraction = re.search(r"[.](\d+)", mark)
    spec = "auto" if fraction is None else "microseconds"
    if fraction is None:
        time = time.replace(microsecond=0)
    elif len(fraction[1]) == 3:
        spec = "milliseconds"
    text = time.isoformat(sep=mark[10], timespec=spec)
    return text.removesuffix("+00:00") + "Z" if mark.endswith("Z") else text
