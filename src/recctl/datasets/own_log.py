"""A log of the user's own: how it is read, inferred from its content or asked of the user.

Nothing is parsed here: the files are staged and cleaned by the code that `ingest` runs.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import ibis
from pydantic import ValidationError

from recctl.data import columns, csv_fallback, engine, formats, interactions, plain
from recctl.data.formats import Staged
from recctl.data.params import Anonymous, Decimal, Format, IngestParams, TimeUnit, lookup_encoding
from recctl.datasets import preview, recognise, times
from recctl.datasets.preview import Preview
from recctl.errors import UserError, option

HEAD_LINES = 200
"""Lines from which a text's form is inferred."""
_QUANTITY = re.compile(r"quantit|qty|^(count|amount|units)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class OwnLog:
    """The user's description of a log; None: inferred from the log."""

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
        """Whether it describes how to read the log, not only what to do with its rows."""
        rest = replace(self, name=None, items=None, minimum_weight=None, anonymous=None)
        return rest != OwnLog()


def read(folder: Path, files: list[str], log: OwnLog, state: Path) -> Preview:
    """How the files in `folder` are read, and what ingest will make of them.

    Raises UserError where they cannot be read or where only the user can say how.
    """
    _check_names(log)
    form, delimiter = _form(folder, files, log, state)
    params = _params(files, log, form, delimiter)
    with engine.scratch(state) as scratch, engine.duckdb(scratch) as connection:
        first = folder / files[0]
        copy = plain.readable(first, params.encoding, scratch)
        with plain.called({copy: str(first)}):
            weighed = _with_quantity(params, columns.names(copy, params))
        staged = formats.stage(connection, weighed, folder, scratch)
        params, staged, notes = _settled(staged, params, weighed, log, str(first))
        return preview.of_rows(connection, staged, params, scratch, notes)


def _check_names(log: OwnLog) -> None:
    if log.encoding is not None:
        try:
            lookup_encoding(log.encoding)
        except ValueError as error:
            raise UserError(str(error), f"name it {option('encoding')}") from None
    if log.time_format is not None:
        interactions.check_format(log.time_format)


def _params(files: list[str], log: OwnLog, form: Format, delimiter: str | None) -> IngestParams:
    """The settings that are known before the rows are read."""
    settings: dict[str, Any] = {
        "name": files[0].split(".")[0] or "own",
        "delimiter": delimiter,
        "time_unit": "us" if form == "sequences" else "s",
    }
    settings |= {name: value for name, value in vars(log).items() if value not in (None, "")}
    for name in ("items", *_ROLES):
        settings.pop(name, None)
    columns = {} if form == "sequences" else _columns(log)
    try:
        return IngestParams(**{**settings, **columns, "files": files, "format": form})
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
"""The names in `--columns` that say what a column is; the first ones do in a header, too."""


def _columns(log: OwnLog) -> dict[str, str | None]:
    """The columns for user, item, time, weight and title."""
    columns: dict[str, str | None] = {}
    for role, names in _ROLES.items():
        usual = names[0] if role in ("user_column", "item_column", "time_column") else None
        named = next((name for name in names if name in (log.columns or [])), usual)
        columns[role] = getattr(log, role) or named
    return columns


def _form(folder: Path, files: list[str], log: OwnLog, state: Path) -> tuple[Format, str | None]:
    """The format of all files, and the separator of their fields unless it is the format's."""
    forms = {}
    for name in files:
        with engine.scratch(state) as scratch:
            copy = plain.readable(folder / name, log.encoding, scratch)
            with plain.called({copy: str(folder / name)}):
                forms[name] = form_of(copy, log)
    if len(set(forms.values())) > 1:
        seen = ", ".join(
            f"{name} is {form}{f' with {sign!r}' if sign else ''}"
            for name, (form, sign) in forms.items()
        )
        raise UserError(f"the files have different formats ({seen})", "convert them to one")
    return forms[files[0]]


def form_of(path: Path, log: OwnLog) -> tuple[Format, str | None]:
    """The format of a plain file and the delimiter, None where it is the format's own.

    Raises UserError when no format fits.
    """
    if log.format == "parquet" or (log.format is None and _is_parquet(path)):
        return "parquet", None
    if log.format in ("jsonl", "sequences"):
        return log.format, None
    head = list(islice((line for line in plain.lines(path) if line.strip()), HEAD_LINES))
    if not head:
        raise UserError(f"{path} is empty", "give a log with at least one row")
    if any(b"\0" in line for line in head):
        raise UserError(
            f"{path} holds NUL bytes: it is not text, or it is UTF-16 without its mark",
            f"name its encoding {option('encoding')}, such as utf-16-le",
        )
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


SEPARATORS = ("\t", ",", ";", "|", "::")


def _delimiter(path: Path, head: list[str], log: OwnLog) -> str:
    """The separator that splits off the wanted columns, or all lines into as many fields."""
    wanted = {name for name in _columns(log).values() if name}
    first = head[0]
    splits = {sign: [len(_fields(line, sign)) for line in head] for sign in SEPARATORS}
    splits = {sign: widths for sign, widths in splits.items() if sign in first}
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
            f"{path} has no known form (its first line is '{first[:60]}')",
            f"say which {option('format')}: {', '.join(get_args(Format))}; "
            f"or what separates its fields {option('delimiter')}",
        )
    return max(even, key=lambda sign: (even[sign], splits[sign][0]))


def _fields(line: str, sign: str) -> list[str]:
    fields = csv_fallback.split(line.encode(), csv_fallback.Shape(sign, ()))
    return [(value or "").strip() for value in fields or []]


def _with_quantity(params: IngestParams, names: tuple[str, ...]) -> IngestParams:
    """The same with a column of quantities as weights if there are none, to read its values."""
    quantities = [name for name in names if _QUANTITY.search(name) and names.count(name) == 1]
    if params.weight_column is not None or not quantities:
        return params
    return params.model_copy(update={"weight_column": quantities[0]})


def _settled(
    staged: Staged, params: IngestParams, weighed: IngestParams, log: OwnLog, name: str
) -> tuple[IngestParams, Staged, list[str]]:
    """The settings inferred from the rows, the table staged with them, and notes for the user."""
    notes: list[str] = []
    if log.encoding is None:
        _check_encoding(staged, name)
    if not staged.typed and staged.clock not in ("row", "format"):
        where = f"in column '{params.time_column}' of {name}"
        reading = times.inferred(staged.table, where, log.time_unit)
        params = params.model_copy(update={"time_unit": reading.unit, "time_format": reading.form})
        staged = formats.timed(replace(staged, clock=reading.unit), params)
        notes += [reading.note] if reading.note else []
    if weighed.weight_column is not None:
        if params.weight_column is not None and params.decimal is None:
            params = params.model_copy(update={"decimal": _decimal(staged, params, name)})
        notes += _negatives(staged, params, weighed.weight_column, log, name)
        if params.weight_column is None:  # its values were only checked
            staged = replace(staged, table=staged.table.mutate(weight=ibis.null("string")))
    return params, staged, notes


def _check_encoding(staged: Staged, name: str) -> None:
    """UserError where lines are not UTF-8 and no encoding is named."""
    bad = staged.table.filter(staged.table.fault == "bad-encoding")
    count = engine.count(bad)
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
    if params.format not in ("csv", "tsv") or engine.count(held) == 0:
        return None
    filled = texts.filter(texts.text.notnull())
    unread = {
        sign: engine.count(filled.filter(interactions.number(filled.text, sign).isnull()))
        for sign in ".,"
    }
    if unread["."] == 0 < unread[","]:
        return "."
    if unread[","] == 0 < unread["."]:
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
    """A note on quantities below zero, such as returns; UserError where they would be weights."""
    value = interactions.number(staged.table.weight, params.decimal)
    below = staged.table.mutate(value=value).filter(lambda t: t.value < 0)
    below_zero = engine.row(below.agg(count=below.count(), lowest=below.value.min()))
    if not below_zero["count"] or log.minimum_weight is not None:
        return []
    lowest = below_zero["lowest"]
    values = f"{below_zero['count']:,} values below zero (to {lowest:g})"
    if params.weight_column is None:
        omit = f"--weight-column {column} --min-weight 0"
        return [f"column '{column}' holds {values}: if these are returns, {omit} leaves them out"]
    raise UserError(
        f"column '{column}' of {name} holds {values}",
        f"say which weight is the least to count {option('minimum_weight')}: 0 leaves returns out, "
        f"{lowest:g} keeps all",
    )
