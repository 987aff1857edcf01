"""A log of the user's own: how it is read, told from its content or asked, and what comes of it.

Nothing is parsed here: the files are staged and cleaned by the code that `ingest` runs.
"""

import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from recctl.data import clean, csv_fallback, engine, formats, interactions, plain
from recctl.data.formats import Staged
from recctl.data.interactions import CAUSES, ON_PURPOSE
from recctl.data.params import Anonymous, Decimal, Format, IngestParams, TimeUnit, lookup_encoding
from recctl.datasets import recognise, times
from recctl.errors import UserError, option

EXAMPLES = 5
"""Rows that a preview shows."""
HEAD_LINES = 200
"""Lines that tell a text's form."""
_QUANTITY = re.compile(r"quantit|qty|^(count|amount|units)$", re.IGNORECASE)
_MANY = 0.05
"""The share of bad rows that `validate` allows unless it is set."""


@dataclass(frozen=True, kw_only=True)
class OwnLog:
    """What a user says of a log; None where the log is to tell."""

    name: str | None = None
    format: Format | None = None
    delimiter: str | None = None
    columns: list[str] | None = None
    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    weight_column: str | None = None
    title_column: str | None = None
    time_unit: TimeUnit | None = None
    time_format: str | None = None
    encoding: str | None = None
    decimal: Decimal | None = None
    minimum_weight: float | None = None
    anonymous: Anonymous | None = None
    items: Path | None = None

    def described(self) -> bool:
        """Whether it says how the log is read, and not only what is done with its rows."""
        rest = replace(self, name=None, items=None, minimum_weight=None, anonymous=None)
        return rest != OwnLog()


@dataclass(frozen=True, kw_only=True)
class Preview:
    """How a log is read, and what ingest will make of it."""

    ingest: IngestParams
    rows: int
    interactions: int
    times: str
    """What the times are: a format, a unit, a type, or the order of the lines."""
    users: int
    items: int
    first_time: str | None
    last_time: str | None
    """None where the order of lines is the time."""
    weights: dict[str, float] | None
    """`minimum`, `maximum` and `negative` (rows) of the weights; None without any."""
    quarantine: dict[str, int]
    """Rows set aside, by cause."""
    examples: list[dict[str, Any]]
    """The first interactions."""
    set_aside: list[dict[str, Any]]
    """The first row of each cause, with its own text."""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "ingest": self.ingest.model_dump()}


def own(folder: Path, files: list[str], log: OwnLog, scratch: Path) -> Preview:
    """How the files in `folder` are read, and what comes of it.

    Raises UserError where they cannot be read or where only the user can say how.
    """
    _check_names(log)
    form, delimiter = _form(folder, files, log, scratch)
    params = _params(files, log, form, delimiter)
    with engine.scratch(scratch) as own_scratch, engine.duckdb(own_scratch) as connection:
        names = _header(folder / files[0], params, own_scratch)
        looked = _with_quantity(params, names)
        staged = formats.stage(connection, looked, folder, own_scratch)
        params, staged, notes = _settled(staged, params, looked, log, str(folder / files[0]))
        return _cleaned(connection, staged, params, own_scratch, notes)


def _check_names(log: OwnLog) -> None:
    if log.encoding is not None:
        try:
            lookup_encoding(log.encoding)
        except ValueError as error:
            raise UserError(str(error), f"name it {option('encoding')}") from None
    if log.time_format is not None:
        formats.check_format(log.time_format)


def known(folder: Path, params: IngestParams, scratch: Path) -> Preview:
    """What ingest will make of files whose form is known."""
    with engine.scratch(scratch) as own_scratch, engine.duckdb(own_scratch) as connection:
        staged = formats.stage(connection, params, folder, own_scratch)
        return _cleaned(connection, staged, params, own_scratch, [])


def _params(files: list[str], log: OwnLog, form: Format, delimiter: str | None) -> IngestParams:
    """What is known before the rows are looked at."""
    columns: dict[str, Any] = {} if form == "sequences" else _roles(log)
    try:
        return IngestParams(
            name=log.name or files[0].split(".")[0] or "own",
            files=files,
            format=form,
            delimiter=log.delimiter or delimiter,
            columns=log.columns,
            time_unit=log.time_unit or ("us" if form == "sequences" else "s"),
            time_format=log.time_format,
            encoding=log.encoding,
            decimal=log.decimal,
            minimum_weight=log.minimum_weight,
            anonymous=log.anonymous,
            **columns,
        )
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UserError(message, "see: recctl data use --help") from None


_ROLES = {
    "user_column": ("user_id", "user"),
    "item_column": ("item_id", "item"),
    "time_column": ("timestamp", "time"),
    "weight_column": ("weight",),
    "title_column": ("title",),
}
"""The names that tell a column's part in `--columns`; the first ones do in a header, too."""


def _roles(log: OwnLog) -> dict[str, str | None]:
    """The columns for user, item, time, weight and title."""
    found: dict[str, str | None] = {}
    for role, names in _ROLES.items():
        among = [name for name in names if name in (log.columns or [])]
        usual = names[0] if role in ("user_column", "item_column", "time_column") else None
        found[role] = getattr(log, role) or (among[0] if among else usual)
    return found


def _form(folder: Path, files: list[str], log: OwnLog, scratch: Path) -> tuple[Format, str | None]:
    """The format of all files, and what separates their fields where that is not the format's."""
    found = {}
    for name in files:
        with engine.scratch(scratch) as own_scratch:
            copy = plain.readable(folder / name, log.encoding, own_scratch)
            with plain.called({copy: str(folder / name)}):
                found[name] = form_of(copy, log)
    if len(set(found.values())) > 1:
        seen = ", ".join(
            f"{name} is {form}{f' with {sign!r}' if sign else ''}"
            for name, (form, sign) in found.items()
        )
        raise UserError(f"the files are of different forms ({seen})", "convert them to one")
    return found[files[0]]


def form_of(path: Path, log: OwnLog) -> tuple[Format, str | None]:
    """The format of a plain file and, where it is not the format's own, the delimiter.

    Raises UserError when nothing fits.
    """
    if log.format == "parquet" or (log.format is None and _is_parquet(path)):
        return "parquet", None
    if log.format in ("jsonl", "sequences"):
        return log.format, None
    head = list(islice((line for line in plain.lines(path) if line.strip()), HEAD_LINES))
    if not head:
        raise UserError(f"{path} is empty", "give a log with at least one row")
    _check_text(path, head, log)
    text = [line.decode(errors="replace") for line in head]
    if log.format is None and text[0].lstrip().startswith(("{", "[")):
        return "jsonl", None
    undescribed = (log.format, log.delimiter, log.columns) == (None, None, None)
    if undescribed and recognise.LAYOUTS["sequences"](text):
        return "sequences", None
    tabs = "\t" if log.format == "tsv" else None
    delimiter = log.delimiter or tabs or _delimiter(path, text, log)
    if delimiter == "\t" and log.format != "csv":
        return "tsv", None
    return "csv", None if delimiter == "," else delimiter


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == plain.PARQUET


def _check_text(path: Path, head: list[bytes], log: OwnLog) -> None:
    """UserError where the first lines are no text, or none in UTF-8."""
    if any(b"\0" in line for line in head):
        raise UserError(
            f"{path} holds NUL bytes: it is no text, or one in UTF-16 without its mark",
            f"name its encoding {option('encoding')}, such as utf-16-le",
        )


SEPARATORS = ("\t", ",", ";", "|", "::")


def _delimiter(path: Path, head: list[str], log: OwnLog) -> str:
    """What separates the fields: the columns wanted say it, or that all lines have as many."""
    wanted = {name for name in _roles(log).values() if name}
    first = head[0]
    splits = {sign: [_width(line, sign) for line in head] for sign in SEPARATORS if sign in first}
    for sign in splits:
        if log.columns is None and wanted <= set(_fields(first, sign)):
            return sign
    if log.columns is not None:
        splits = {s: w for s, w in splits.items() if w[0] == len(log.columns)} or splits
    even = {sign: Counter(widths)[widths[0]] for sign, widths in splits.items()}
    if not even and log.format == "csv":
        return ","
    if not even:
        raise UserError(
            f"{path} has no form that is known here (its first line is '{first[:60]}')",
            f"say which {option('format')}: {', '.join(get_args(Format))}; "
            f"or what separates its fields {option('delimiter')}",
        )
    return max(even, key=lambda sign: (even[sign], splits[sign][0]))


def _fields(line: str, sign: str) -> list[str]:
    shape = csv_fallback.Shape(sign, ())
    found = csv_fallback.split(line.encode(), shape)
    return [(value or "").strip() for value in found or []]


def _width(line: str, sign: str) -> int:
    return len(_fields(line, sign))


def _header(path: Path, params: IngestParams, scratch: Path) -> tuple[str, ...]:
    """The names of the columns of a csv, tsv or parquet file; none of other files."""
    if params.format not in ("csv", "tsv", "parquet"):
        return ()
    if params.columns is not None:
        return tuple(params.columns)
    copy = plain.readable(path, params.encoding, scratch)
    if params.format == "parquet":
        try:
            return tuple(pq.read_schema(copy).names)
        except pa.ArrowInvalid:  # staging says so
            return ()
    return csv_fallback.header(copy, formats.separator(params))


def _with_quantity(params: IngestParams, names: tuple[str, ...]) -> IngestParams:
    """The same with a column of quantities as weights, if there are none, to look at them."""
    found = [name for name in names if _QUANTITY.search(name) and names.count(name) == 1]
    if params.weight_column is not None or not found:
        return params
    return params.model_copy(update={"weight_column": found[0]})


def _settled(
    staged: Staged, params: IngestParams, looked: IngestParams, log: OwnLog, name: str
) -> tuple[IngestParams, Staged, list[str]]:
    """The settings that the rows tell, the staged table read so, and what there is to say."""
    notes: list[str] = []
    if log.encoding is None:
        _check_encoding(staged, name)
    if not staged.typed and staged.clock not in ("row", "format"):
        where = f"in column '{params.time_column}' of {name}"
        told = times.told(staged.table, where, log.time_unit)
        params = params.model_copy(update={"time_unit": told.unit, "time_format": told.form})
        staged = formats.timed(replace(staged, clock=told.unit), params)
        notes += [told.note] if told.note else []
    if looked.weight_column is not None:
        if params.weight_column is not None and params.decimal is None:
            params = params.model_copy(update={"decimal": _decimal(staged, params, name)})
        notes += _negatives(staged, params, looked.weight_column, log, name)
        if params.weight_column is None:  # it was only looked at
            none = ibis.null("string")
            staged = replace(staged, table=staged.table.mutate(weight=none))
    return params, staged, notes


def _check_encoding(staged: Staged, name: str) -> None:
    """UserError where lines are no UTF-8 and nobody has named an encoding."""
    bad = staged.table.filter(staged.table.fault == "bad-encoding")
    count = bad.count().to_pyarrow().as_py()
    if count:
        [first] = bad.order_by("row").limit(1).to_pyarrow().to_pylist()
        raise UserError(
            f"{count:,} lines of {name} are not UTF-8 text (the first in row {first['row']:,}: "
            f"{first['line'][:60]})",
            f"name the encoding {option('encoding')}: latin-1 or cp1252 reads them, utf-8 puts "
            "them into quarantine",
        )


def _decimal(staged: Staged, params: IngestParams, name: str) -> Decimal | None:
    """The decimal sign of weights that hold commas; None where none does."""
    texts = staged.table.select(text=staged.table.weight)
    held = texts.filter(texts.text.contains(","))
    if params.format not in ("csv", "tsv") or held.count().to_pyarrow().as_py() == 0:
        return None
    filled = texts.filter(texts.text.notnull())
    unread = {sign: filled.filter(interactions.number(filled.text, sign).isnull()) for sign in ".,"}
    counts = {sign: int(rows.count().to_pyarrow().as_py()) for sign, rows in unread.items()}
    if counts["."] == 0 < counts[","]:
        return "."
    if counts[","] == 0 < counts["."]:
        return ","
    [example] = held.limit(1).to_pyarrow()["text"].to_pylist()
    raise UserError(
        f"the weights in column '{params.weight_column}' of {name} hold commas that may be decimal "
        f"signs or not ('{example}')",
        f"say which is the decimal sign {option('decimal')}: --decimal ',' or --decimal '.'",
    )


def _negatives(
    staged: Staged, params: IngestParams, column: str, log: OwnLog, name: str
) -> list[str]:
    """What is to be said of quantities below zero, such as returns."""
    value = interactions.number(staged.table.weight, params.decimal)
    below = staged.table.mutate(value=value).filter(lambda t: t.value < 0)
    count = below.count().to_pyarrow().as_py()
    if not count or log.minimum_weight is not None:
        return []
    lowest = below.agg(lowest=below.value.min()).to_pyarrow()["lowest"][0].as_py()
    seen = f"{count:,} values below zero (to {lowest:g})"
    if params.weight_column is None:
        omit = f"--weight-column {column} --min-weight 0"
        return [f"column '{column}' holds {seen}: if these are returns, {omit} leaves them out"]
    raise UserError(
        f"column '{column}' of {name} holds {seen}",
        f"say what the least is that counts {option('minimum_weight')}: 0 leaves returns out, "
        f"{lowest:g} keeps all",
    )


def _cleaned(
    connection: Any, staged: Staged, params: IngestParams, scratch: Path, notes: list[str]
) -> Preview:
    """What ingest makes of the rows."""
    rows = clean.Rows(staged.table, [], 0)
    report = clean.clean(connection, rows, staged.clock, params, scratch)
    kept = connection.read_parquet(scratch / "interactions.parquet")
    weights = None
    if params.weight_column is not None:
        found = kept.agg(
            minimum=kept.weight.min(), maximum=kept.weight.max(), negative=(kept.weight < 0).sum()
        )
        [weights] = found.to_pyarrow().to_pylist()
    causes = {cause: count for cause, count in report["quarantine"].items() if count}
    examples = kept.order_by("row").limit(EXAMPLES).to_pyarrow().to_pylist()
    return Preview(
        ingest=params,
        rows=report["rows_in"],
        interactions=report["rows_out"],
        times=_kind(staged, params),
        users=report["users"],
        items=report["items"],
        first_time=report.get("first_time"),
        last_time=report.get("last_time"),
        weights=weights,
        quarantine=causes,
        examples=[_example(row, staged.clock) for row in examples],
        set_aside=_first_of_each(connection, scratch / "quarantine.parquet", causes),
        notes=[*notes, *_notes(report, causes)],
    )


def _kind(staged: Staged, params: IngestParams) -> str:
    """What the times are."""
    if staged.clock == "row":
        return "the order of the lines"
    if staged.typed:
        return "the column's type"
    return f"'{params.time_format}'" if params.time_format else f"unit {params.time_unit}"


def _example(row: dict[str, Any], clock: str) -> dict[str, Any]:
    time = None if clock == "row" else row["timestamp"].isoformat()
    return {**row, "timestamp": time}


def _first_of_each(connection: Any, path: Path, causes: dict[str, int]) -> list[dict[str, Any]]:
    """The first quarantined row of each cause, what it holds only."""
    if not causes:
        return []
    rows = connection.read_parquet(path)
    first = rows.group_by("cause").agg(row=rows.row.min())
    found = rows.inner_join(first, ["cause", "row"]).order_by("row").to_pyarrow().to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in found]


def _notes(report: dict[str, Any], causes: dict[str, int]) -> list[str]:
    """What may not be as it was meant."""
    notes = []
    bad = {cause: count for cause, count in causes.items() if cause not in ON_PURPOSE}
    share = sum(bad.values()) / report["rows_in"]
    if share > _MANY:
        worst = max(bad, key=bad.__getitem__)
        notes.append(
            f"{share:.1%} of the rows go to quarantine, most of them {worst}: {CAUSES[worst]}; "
            "'validate' stops above its maximum_quarantine_share"
        )
    first, last = (str(report.get(key, "2")) for key in ("first_time", "last_time"))
    if first < "1971":
        which = "all times are" if last < "1971" else f"some times, such as {first}, are"
        notes.append(
            f"{which} of 1970 or before: if that is not so, say how they are written with "
            "--time-unit or --time-format"
        )
    return notes


def told(preview: Preview) -> list[str]:
    """How a log is read and what comes of it, in lines."""
    params = preview.ingest
    rows = [
        f"files: {', '.join(params.files)}, read as {_reading(params)}",
        f"columns: {_mapping(params)}",
        f"times: {preview.times}{_span(preview)}",
    ]
    if preview.weights is not None:
        low, high = preview.weights["minimum"], preview.weights["maximum"]
        rows.append(f"weights: {low:g} to {high:g}")
    rows.append(
        f"rows: {preview.rows:,}, of which {preview.interactions:,} interactions of "
        f"{preview.users:,} users with {preview.items:,} items"
    )
    for first in preview.set_aside:
        cause = first["cause"]
        share = preview.quarantine[cause] / preview.rows
        shown = ", ".join(
            f"{key} {value if key == 'row' else repr(value[:60])}"
            for key, value in first.items()
            if key != "cause"
        )
        rows.append(
            f"quarantine: {preview.quarantine[cause]:,} rows ({share:.1%}) {cause}: "
            f"{CAUSES[cause]}; the first: {shown}"
        )
    return rows + [f"note: {note}" for note in preview.notes]


def _reading(params: IngestParams) -> str:
    if params.format == "parquet":
        return "parquet"
    parts: list[str] = [params.format]
    if params.format in ("csv", "tsv"):
        sign = formats.separator(params).replace("\t", "\\t")
        parts += [f"separator '{sign}'", f"decimal sign '{params.decimal or '.'}'"]
        parts += [f"columns {', '.join(params.columns)}"] if params.columns else []
    return ", ".join([*parts, f"encoding {params.encoding or 'utf-8 or by its mark'}"])


def _mapping(params: IngestParams) -> str:
    named = {
        "user": params.user_column,
        "item": params.item_column,
        "time": None if params.format == "sequences" else params.time_column,
        "weight": params.weight_column,
        "title": params.title_column,
    }
    return ", ".join(f"{role} is '{name}'" for role, name in named.items() if name is not None)


def _span(preview: Preview) -> str:
    return f", from {preview.first_time} to {preview.last_time}" if preview.first_time else ""
