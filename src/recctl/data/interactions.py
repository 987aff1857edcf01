"""Raw rows to typed interactions: one schema, one expression for what is wrong with a row.

Everything here is an ibis expression over the staged table of `recctl.data.formats` and runs on
DuckDB and on Spark alike.
"""

from typing import Any, Literal

import ibis
import ibis.expr.types as ir

from recctl.data.params import IngestParams, TimeUnit

Clock = TimeUnit | Literal["row"]
"""What tells the time: text in a unit, or the row's own number."""

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

UTC = "timestamp('UTC', 6)"
EPOCH = ibis.literal("1970-01-01 00:00:00", type=UTC)
"""Times are counted from it, in microseconds."""
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 and 9999 in microseconds: a time beyond them is one read in the wrong unit."""
_LARGEST = 1e300
"""A weight beyond it is no number to reckon with."""
_DECIMAL = r"^[ \t]*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?[ \t]*$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
)


def classified(staged: ir.Table, params: IngestParams, clock: Clock) -> ir.Table:
    """The staged rows with their typed values and `cause`, which is null for a good row.

    Adds `us` (int64, microseconds since 1970), `value` (float64, the weight) and `cause`.
    """
    weighed = params.weight_column is not None
    value = finite(staged.weight) if weighed else ibis.literal("1").cast("float64")
    typed = staged.mutate(us=microseconds(staged, clock), value=value)
    return typed.mutate(cause=_cause(typed, params, clock))


def weighed(taken: ir.Table, params: IngestParams) -> ir.Table:
    """Rows that were classified when they came in, with those of too low a weight named."""
    if params.minimum_weight is None:
        return taken
    low = taken.cause.isnull() & (taken.value < params.minimum_weight)
    return taken.mutate(cause=low.ifelse(ibis.literal("low-weight"), taken.cause))


def microseconds(staged: ir.Table, clock: Clock) -> Any:
    """The time in microseconds since 1970-01-01 UTC, null where it cannot be read."""
    if clock == "row":
        return staged.row
    if clock == "iso":
        return _iso_microseconds(staged.timestamp)
    if clock == "ns":
        return _nanoseconds_to_microseconds(staged.timestamp)
    return _scaled_microseconds(staged.timestamp, _MICROSECONDS[clock])


def _scaled_microseconds(text: Any, scale: int) -> Any:
    whole = text.try_cast("int64")
    # Engines disagree on which texts are integers; on one that prints as it reads they do not.
    plain = (whole.cast("string") == text) & whole.between(EARLIEST // scale, LATEST // scale)
    return ibis.cases((plain, whole * scale), else_=_fractional(text, scale))


def _nanoseconds_to_microseconds(text: Any) -> Any:
    whole = text.try_cast("int64")
    # `/` divides floats, which hold whole numbers exactly up to 2**53: two small ones do.
    below_second = whole % 10**9
    seconds = _quotient(whole - below_second, 10**9)
    us = seconds * 10**6 + _quotient(below_second - below_second % 1000, 1000)
    return ibis.cases((whole.cast("string") == text, us), else_=_fractional(text, 0.001))


def _quotient(multiple: Any, divisor: int) -> Any:
    return (multiple / divisor).round().cast("int64")


def _fractional(text: Any, scale: float) -> Any:
    """Decimal text times `scale`, rounded; null when it is none or beyond all calendars."""
    scaled = decimal(text) * scale
    dated = (scaled >= float(EARLIEST)) & (scaled < float(LATEST))
    return dated.ifelse(scaled, ibis.null("float64")).round().cast("int64")


def _iso_microseconds(text: Any) -> Any:
    plain = text.strip().upper()
    good = plain.re_search(_ISO).ifelse(plain, ibis.null("string"))
    return good.try_cast(UTC).delta(EPOCH, unit="microsecond")


def decimal(text: Any) -> Any:
    """Text as a float; null for what is not a decimal number, whatever else an engine accepts."""
    return text.re_search(_DECIMAL).ifelse(text, ibis.null("string")).try_cast("float64")


def finite(text: Any) -> Any:
    """Text as a float; null for what is not a finite decimal number."""
    value = decimal(text)
    return value.between(-_LARGEST, _LARGEST).ifelse(value, ibis.null("float64"))


def _cause(typed: ir.Table, params: IngestParams, clock: Clock) -> Any:
    """The first fault of each row, in the order of CAUSES; null for a good row."""
    faults = [
        (typed.line.notnull(), "bad-line"),
        (_blank(typed.user_id), "no-user"),
        (_blank(typed.item_id), "no-item"),
    ]
    if clock != "row":
        faults += [
            (_blank(typed.timestamp), "no-time"),
            (typed.us.isnull(), "bad-time"),
        ]
    if params.weight_column is not None:
        faults.append((typed.value.isnull(), "bad-weight"))
    if params.minimum_weight is not None:
        faults.append((typed.value < params.minimum_weight, "low-weight"))
    return ibis.cases(*faults, else_=ibis.null("string"))


def _blank(text: Any) -> Any:
    # Stripping is slow, and a text of white space only sorts before "!", the first visible sign.
    return text.isnull() | ((text < "!") & (text.strip() == ""))


def interactions(typed: ir.Table, clock: Clock) -> ir.Table:
    """The good rows, of exact duplicates the first one, ordered by user, time and row."""
    good = typed.filter(typed.cause.isnull()).select("user_id", "item_id", "us", "value", "row")
    if clock != "row":  # where the row is the time, no two rows are alike
        keys = ("user_id", "item_id", "us", "value")
        good = good.group_by(*keys).agg(row=good.row.min())
    return good.order_by("user_id", "us", "row").select(
        user_id=good.user_id,
        item_id=good.item_id,
        timestamp=EPOCH + good.us.as_interval("us"),
        weight=good.value,
        row=good.row,
    )


def quarantine(typed: ir.Table, kept: ir.Table) -> ir.Table:
    """All rows that are not among the interactions `kept`, with the cause."""
    left = typed.anti_join(kept, "row")
    named = left.mutate(cause=left.cause.fill_null("duplicate"))
    return named.select(*QUARANTINE.names).order_by("row")
