"""Raw rows to typed interactions: one schema, and one expression for the cause of a bad row.

Everything here is an ibis expression over the staged table of `recctl.data.formats` and runs on
DuckDB and on Spark alike.
"""

from typing import Any, Literal

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from recctl.data.params import IngestParams, TimeUnit
from recctl.data.values import FLOAT, LARGEST, MISSING
from recctl.errors import UserError, option

Clock = TimeUnit | Literal["row", "format"]
"""Where the time comes from: text in a unit, the row number, or `us` of the staged table."""

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
    "bad-line": "the line does not hold the fields it should, or an id is a list or an object",
    "bad-encoding": "the line is not text in ingest.encoding, by default UTF-8",
    "no-user": "the user is empty; ingest.anonymous: drop leaves such rows out on purpose",
    "anonymous": "the user is empty, and ingest.anonymous is drop",
    "no-item": "the item is empty",
    "bad-id": "the user or item is a float that lost its last digits, or holds a NUL",
    "no-time": "the time is empty",
    "bad-time": "the time does not fit ingest.time_unit or ingest.time_format",
    "bad-weight": "the weight is not a finite number",
    "low-weight": "the weight is below ingest.minimum_weight",
    "duplicate": "user, item, time and weight are those of an earlier row",
}
"""Why a row goes to quarantine; a row with several faults gets the first of them."""


ON_PURPOSE = ("low-weight", "anonymous")
"""Causes that the user asked for; they do not count as bad data."""

UTC = "timestamp('UTC', 6)"
EPOCH = ibis.literal("1970-01-01 00:00:00", type=UTC)
"""Times are counted from it, in microseconds."""
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
EARLIEST, LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 and 9999 in microseconds; a time outside them was read in the wrong unit."""
_DECIMAL = r"^[ \t]*[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?[ \t]*$"
_ISO = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
)


@ibis.udf.scalar.builtin(  # type: ignore[untyped-decorator]
    signature=((dt.string, dt.string), dt.timestamp)
)
def try_strptime(text: Any, form: Any) -> Any:
    """DuckDB's function of that name; with a time zone where the format has one."""


@ibis.udf.scalar.builtin(signature=((dt.timestamp,), dt.int64))  # type: ignore[untyped-decorator]
def epoch_us(time: Any) -> Any:
    """DuckDB's function of that name."""


def formatted(text: Any, form: str) -> Any:
    """A time in one of DuckDB's strptime formats in microseconds; null where it does not fit."""
    us = epoch_us(try_strptime(text, form).cast(UTC))
    return us.between(EARLIEST, LATEST).ifelse(us, ibis.null("int64"))


def check_format(form: str) -> None:
    """UserError where DuckDB does not know the time format."""
    try:
        with duckdb.connect() as connection:
            connection.execute("SELECT try_strptime('', ?)", [form])
    except duckdb.Error as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2]
        raise UserError(
            f"'{form}' is not a time format ({reason})",
            f"write one such as '%d/%m/%Y %H:%M' {option('time_format')}",
        ) from None


def classified(staged: ir.Table, params: IngestParams, clock: Clock) -> ir.Table:
    """The staged rows with their typed values and `cause`, which is null for a good row.

    Adds `us` (int64, microseconds since 1970), `value` (float64, the weight) and `cause`.
    """
    weighed = params.weight_column is not None
    value = number(staged.weight, params.decimal) if weighed else ibis.literal("1").cast("float64")
    typed = staged.mutate(us=microseconds(staged, clock), value=value)
    return typed.mutate(cause=_cause(typed, params, clock))


def weighed(taken: ir.Table, params: IngestParams) -> ir.Table:
    """Rows that were classified on arrival, with the causes of ON_PURPOSE added."""
    if params.minimum_weight is not None:
        low = taken.cause.isnull() & (taken.value < params.minimum_weight)
        taken = taken.mutate(cause=low.ifelse(ibis.literal("low-weight"), taken.cause))
    if params.anonymous == "drop":
        dropped = taken.cause == "no-user"
        taken = taken.mutate(cause=dropped.ifelse(ibis.literal("anonymous"), taken.cause))
    return taken


def microseconds(staged: ir.Table, clock: Clock) -> Any:
    """The time in microseconds since 1970-01-01 UTC, null where it cannot be read."""
    if clock == "row":
        return staged.row
    if clock == "format":
        return staged.us
    if clock == "iso":
        return _iso_microseconds(staged.timestamp)
    if clock == "ns":
        return _nanoseconds_to_microseconds(staged.timestamp)
    return _scaled_microseconds(staged.timestamp, _MICROSECONDS[clock])


def _scaled_microseconds(text: Any, scale: int) -> Any:
    whole = text.try_cast("int64")
    # Engines disagree on which texts are integers, except for those that print as they read.
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
    """Decimal text times `scale`, rounded; null if not decimal or not in the years 1 to 9999."""
    scaled = decimal(text) * scale
    dated = (scaled >= float(EARLIEST)) & (scaled < float(LATEST))
    return dated.ifelse(scaled, ibis.null("float64")).round().cast("int64")


def _iso_microseconds(text: Any) -> Any:
    plain = text.strip().upper()
    good = plain.re_search(_ISO).ifelse(plain, ibis.null("string"))
    return good.try_cast(UTC).delta(EPOCH, unit="microsecond")


def decimal(text: Any) -> Any:
    """Text as a float; null if it is not a decimal number, even where an engine accepts it."""
    return text.re_search(_DECIMAL).ifelse(text, ibis.null("string")).try_cast("float64")


def finite(text: Any) -> Any:
    """Text as a float; null for what is not a finite decimal number."""
    value = decimal(text)
    return value.between(-LARGEST, LARGEST).ifelse(value, ibis.null("float64"))


def number(text: Any, point: str | None) -> Any:
    """Text as a float with the decimal sign `point`; if it is set, the other sign may group digits.

    Null if it is not a finite number in that form, such as `3.5` where the sign is a comma.
    """
    if point is None:
        return finite(text)
    if point == ".":
        return finite(text.re_search(_GROUPED).ifelse(text.replace(",", ""), text))
    bare = text.replace(".", "").replace(" ", "").replace(",", ".")
    return finite(text.re_search(_COMMA).ifelse(bare, ibis.null("string")))


_GROUPED = r"^[ \t]*[+-]?[0-9]{1,3}(,[0-9]{3})+([.][0-9]*)?[ \t]*$"
_COMMA = r"^[ \t]*[+-]?([0-9]+|[0-9]{1,3}([. ][0-9]{3})+)(,[0-9]*)?[ \t]*$"


def _cause(typed: ir.Table, params: IngestParams, clock: Clock) -> Any:
    """The first fault of each row, in the order of CAUSES; null for a good row."""
    faults = [
        (_missing(typed.user_id), "anonymous" if params.anonymous == "drop" else "no-user"),
        (_missing(typed.item_id), "no-item"),
        (_lossy(typed.user_id) | _lossy(typed.item_id), "bad-id"),
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
    return typed.fault.coalesce(ibis.cases(*faults, else_=ibis.null("string")))


def _missing(text: Any) -> Any:
    return _blank(text) | text.isin(MISSING)


def _lossy(text: Any) -> Any:
    """Whether an id is a float of 2**53 or more as text, or holds a NUL.

    Searching for single characters is fast, for a pattern slow: hence the two steps.
    """
    float_like = text.endswith(".0") | text.contains("+")
    return text.contains("\0") | float_like.ifelse(text.re_search(FLOAT), False)


def whole(text: Any) -> Any:
    """An id as text, without the `.0` that pandas gives integers where one of them is missing."""
    exact = text.re_search(r"^-?[0-9]+[.]0$") & (text.try_cast("float64").abs() < 2**53)
    return text.endswith(".0").ifelse(exact.ifelse(text.re_replace(r"[.]0$", ""), text), text)


def _blank(text: Any) -> Any:
    # Stripping is slow, and a text of white space only sorts before "!", the first visible sign.
    return text.isnull() | ((text < "!") & (text.strip() == ""))


def interactions(typed: ir.Table, clock: Clock) -> ir.Table:
    """The good rows, of exact duplicates the first one, ordered by user, time and row."""
    good = typed.filter(typed.cause.isnull()).select("user_id", "item_id", "us", "value", "row")
    if clock != "row":  # where the row is the time, no two rows are equal
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
