"""Times in every unit, against plain Python arithmetic."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.data import interactions
from recctl.data.interactions import EARLIEST, LATEST, Clock

MICROSECONDS = {"s": 10**6, "ms": 10**3, "us": 1, "ns": Decimal("0.001")}


def read(texts: list[str | None], clock: Clock) -> list[int | None]:
    """Microseconds as DuckDB reads the texts."""
    staged = ibis.memtable(pa.table({"timestamp": pa.array(texts, pa.string())}))
    us = interactions.microseconds(staged, clock)
    found: list[int | None] = us.to_pyarrow().to_pylist()
    return found


@pytest.mark.parametrize(
    ("clock", "text", "expected"),
    [
        ("s", "0", 0),
        ("s", "978300760", 978300760 * 10**6),
        ("s", "978300760.25", 978300760250000),
        ("s", "978300760.0", 978300760 * 10**6),
        ("s", "9.7830076e8", 978300760 * 10**6),
        ("s", "-1.5", -1500000),
        ("s", " 7 ", 7 * 10**6),
        ("s", "007", 7 * 10**6),
        ("s", "+7", 7 * 10**6),
        ("s", "253402300799", LATEST - 999_999),
        ("s", "253402300800", None),
        ("s", "978300760000", None),  # milliseconds taken for seconds: the year 32970
        ("ms", "978300760123", 978300760123 * 10**3),
        ("ms", "978300760123.5", 978300760123500),
        ("us", "978300760123456", 978300760123456),
        ("us", "978300760123456.5", 978300760123457),
        ("ns", "1700000000123456789", 1700000000123456),
        ("ns", "1700000000123456000", 1700000000123456),
        ("ns", "999", 0),
        ("s", "NaN", None),
        ("s", "inf", None),
        ("s", "1e400", None),
        ("s", "99999999999999999999", None),
        ("s", "1_000", None),
        ("s", "1d", None),
        ("s", "0x10", None),
        ("s", "2024-01-01", None),
        ("s", "yesterday", None),
        ("s", "", None),
        ("s", None, None),
    ],
)
def test_numeric_times(clock: Clock, text: str | None, expected: int | None) -> None:
    assert read([text], clock) == [expected]


NOON = 1709294400 * 10**6
"""2024-03-01T12:00:00Z."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-01T12:00:00Z", NOON),
        ("2024-03-01t12:00:00z", NOON),
        ("2024-03-01 12:00:00", NOON),
        ("2024-03-01 12:00", NOON),
        (" 2024-03-01 12:00 ", NOON),
        ("2024-03-01", NOON - 12 * 3600 * 10**6),
        ("2024-03-01T14:00:00+02:00", NOON),
        ("2024-03-01T14:00:00+0200", NOON),
        ("2024-03-01T14:00:00+02", NOON),
        ("2024-03-01T06:30:00-05:30", NOON),
        ("2024-03-01T12:00:00.25Z", NOON + 250_000),
        ("2024-03-01T12:00:00.123456Z", NOON + 123_456),
        ("2024-03-01T12:00:00.123456789Z", NOON + 123_456),
        ("1969-12-31T23:59:59.5Z", -500_000),
        ("2024-02-30", None),
        ("2023-02-29T00:00:00", None),
        ("2024-03-01T25:00:00", None),
        ("2024-03", None),
        ("01.03.2024", None),
        ("1709294400", None),
        ("infinity", None),
        ("epoch", None),
        ("now", None),
        (None, None),
    ],
)
def test_iso_times(text: str | None, expected: int | None) -> None:
    assert read([text], "iso") == [expected]


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["s", "ms", "us"]),
    st.lists(st.integers(EARLIEST, LATEST), min_size=1, max_size=50),
)
def test_whole_numbers_are_exact(clock: Clock, moments: list[int]) -> None:
    scale = int(MICROSECONDS[clock])
    whole = [moment // scale for moment in moments if moment // scale * scale >= EARLIEST]
    assert read([str(number) for number in whole], clock) == [n * scale for n in whole]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50))
def test_nanoseconds_lose_only_what_is_below_a_microsecond(moments: list[int]) -> None:
    assert read([str(one) for one in moments], "ns") == [one // 1000 for one in moments]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.decimals(0, 4 * 10**9, places=3), min_size=1, max_size=50))
def test_fractions_of_seconds(moments: list[Decimal]) -> None:
    expected = [int((one * 10**6).to_integral_value(ROUND_HALF_UP)) for one in moments]
    assert read([str(one) for one in moments], "s") == expected


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.datetimes(
            datetime(1800, 1, 1),
            datetime(2200, 1, 1),
            timezones=st.integers(-14 * 60, 14 * 60).map(
                lambda minutes: timezone(timedelta(minutes=minutes))
            ),
        ),
        min_size=1,
        max_size=50,
    )
)
def test_what_python_writes_as_iso_is_read(moments: list[datetime]) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    expected = [(moment - epoch) // timedelta(microseconds=1) for moment in moments]
    assert read([moment.isoformat() for moment in moments], "iso") == expected


def test_the_bounds_are_those_of_the_calendar() -> None:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first = datetime.min.replace(tzinfo=UTC) - epoch
    last = datetime.max.replace(tzinfo=UTC) - epoch
    assert first // timedelta(microseconds=1) == EARLIEST
    assert last // timedelta(microseconds=1) == LATEST
