"""Raw rows to typed interactions: one schema, one expression for what is wrong with a row.

Everything here is an ibis expression over the staged table of `recctl.data.formats` and runs on
DuckDB and on Spark alike.
"""

from typing import Any

import ibis
import ibis.expr.types as ir

from recctl.data.params import IngestParams, TimeUnit

INTERACTIONS = ibis.schema(
    {
        "user_id": "string",
        "item_id": "string",
        "timestamp": "timestamp('UTC', 6)",
        "weight": "float64",
        "row": "int64",
    }
)
"""The columns of interactions.parquet."""

QUARANTINE = ibis.schema(
    {
        "row": "int64",
        "cause": "string",
        "user_id": "string",
        "item_id": "string",
        "timestamp": "string",
        "weight": "string",
        "line": "string",
    }
)
"""The columns of quarantine.parquet."""

CAUSES = {
    "bad-line": "the line does not hold the fields it should, or is not UTF-8 text",
    "no-user": "the user is empty",
    "no-item": "the item is empty",
    "no-time": "the time is empty",
    "bad-time": "the time cannot be read in the unit of ingest.time_unit",
    "bad-weight": "the weight is not a finite number",
    "low-weight": "the weight is below ingest.minimum_weight",
    "duplicate": "user, item, time and weight are those of an earlier row",
}
"""Why a row goes to quarantine; a row with several faults gets the first of them."""

_UTC = "timestamp('UTC', 6)"
_EPOCH = ibis.literal("1970-01-01 00:00:00", type=_UTC)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_LATEST = 253_402_300_800_000_000
"""The year 10000, in microseconds: a later time is one read in the wrong unit."""
_LARGEST = 9.2e18
"""Near the largest int64: times and weights beyond it are no numbers to reckon with."""
_DECIMAL = r"^[ \t]*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?[ \t]*$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
)


def classified(staged: ir.Table, params: IngestParams, unit: TimeUnit | None) -> ir.Table:
    """The staged rows with their typed values and `cause`, which is null for a good row.

    Adds `us` (int64, microseconds since 1970), `value` (float64, the weight) and `cause`.
    `unit` is what the source says of its times; None where only params.yaml knows.
    """
    typed = staged.mutate(
        us=microseconds(staged.timestamp, unit or params.time_unit), value=weight(staged, params)
    )
    return typed.mutate(cause=cause(typed, params))


def microseconds(text: Any, unit: TimeUnit) -> Any:
    """Time as text to microseconds since 1970-01-01 UTC, null where it cannot be read."""
    us = _iso_microseconds(text) if unit == "iso" else _numeric_microseconds(text, unit)
    return us.between(-_LATEST, _LATEST).ifelse(us, ibis.null("int64"))


def _iso_microseconds(text: Any) -> Any:
    plain = text.strip().upper()
    good = plain.re_search(_ISO).ifelse(plain, ibis.null("string"))
    return good.try_cast(_UTC).delta(_EPOCH, unit="microsecond")


def _numeric_microseconds(text: Any, unit: TimeUnit) -> Any:
    # Whole numbers stay integers: as a float, nanoseconds would lose their last digits.
    inexact = number(text)
    inexact = inexact.between(-_LARGEST, _LARGEST).ifelse(inexact, ibis.null("float64"))
    integral = inexact == inexact.floor()
    exact = integral.ifelse(text.try_cast("int64"), ibis.null("int64"))
    if unit == "ns":
        exact = ((exact - exact % 1000) / 1000).round()
    scaled = inexact * (_MICROSECONDS[unit] if unit != "ns" else 0.001)
    in_range = scaled.between(-_LATEST, _LATEST).ifelse(scaled, ibis.null("float64"))
    if unit == "ns":
        return ibis.coalesce(exact, in_range.round())
    bounded = in_range.notnull().ifelse(exact, ibis.null("int64"))
    return ibis.coalesce(bounded * _MICROSECONDS[unit], in_range.round())


def number(text: Any) -> Any:
    """Text as a float; null for what is not a decimal number, whatever the engine accepts."""
    decimal = text.re_search(_DECIMAL).ifelse(text, ibis.null("string"))
    return decimal.try_cast("float64")


def weight(staged: ir.Table, params: IngestParams) -> Any:
    """The weight as a finite number, 1 where the log has none, null where it cannot be read."""
    if params.weight_column is None:
        return ibis.literal(1.0).cast("float64")
    value = number(staged.weight)
    return value.between(-_LARGEST, _LARGEST).ifelse(value, ibis.null("float64"))


def cause(typed: ir.Table, params: IngestParams) -> Any:
    """The first fault of each row, in the order of CAUSES; null for a good row."""
    faults = [
        (typed.line.notnull(), "bad-line"),
        (_blank(typed.user_id), "no-user"),
        (_blank(typed.item_id), "no-item"),
        (_blank(typed.timestamp), "no-time"),
        (typed.us.isnull(), "bad-time"),
        (typed.value.isnull(), "bad-weight"),
    ]
    if params.minimum_weight is not None:
        faults.append((typed.value < params.minimum_weight, "low-weight"))
    return ibis.cases(*faults, else_=ibis.null("string"))


def _blank(text: Any) -> Any:
    return text.isnull() | (text.strip() == "")


def interactions(typed: ir.Table) -> ir.Table:
    """The good rows, of exact duplicates the first one, ordered by user, time and row."""
    good = typed.filter(typed.cause.isnull())
    first = good.group_by("user_id", "item_id", "us", "value").agg(row=good.row.min())
    return first.order_by("user_id", "us", "row").select(
        user_id=first.user_id,
        item_id=first.item_id,
        timestamp=_EPOCH + first.us.as_interval("us"),
        weight=first.value,
        row=first.row,
    )


def quarantine(typed: ir.Table, kept: ir.Table) -> ir.Table:
    """All rows that are not among the interactions `kept`, with the cause."""
    left = typed.anti_join(kept, "row")
    named = left.mutate(cause=left.cause.fill_null("duplicate"))
    return named.select(*QUARANTINE.names).order_by("row")
