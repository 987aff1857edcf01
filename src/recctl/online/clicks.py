"""What the service kept of versions in use: clicks on the lists shown, and lists in the shadow."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from duckdb import Error
from numpy.typing import NDArray

from recctl import journal
from recctl.data import engine
from recctl.data.params import IngestParams
from recctl.errors import UserError
from recctl.layout import Layout

HOURS = 24
"""An event is a click where it names the list's request and its time is this near to the list's."""
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR

Pair = tuple[int, int | None]
"""The version that served, and the challenger with which its lists were interleaved."""


@dataclass(frozen=True)
class Clicks:
    """Of the lists of one pair."""

    positions: dict[int, int]
    """Clicks by the position of the item, from 1; a second click on an item of a list is none."""
    known: NDArray[np.bool_]
    """Whether it is a user; all lists for histories that were sent are one row. (users,)"""
    lists: NDArray[np.int64]
    clicked: NDArray[np.int64]
    """Lists with at least one click."""
    credit: NDArray[np.int64]
    """Clicks on items that the challenger gave, less those on items that the other version gave."""


@dataclass(frozen=True)
class Shadow:
    """How a challenger repeated passes of the version that served; times in seconds."""

    champion: int
    challenger: int
    passes: int
    lists: int
    failed: int
    """Lists that the champion had and the challenger had not."""
    overlap: float | None
    """The mean share of a list's items that the challenger's list has as well."""
    p50: float
    p95: float
    challenger_p50: float | None
    challenger_p95: float | None


@dataclass(frozen=True)
class Shown:
    """All lists that are kept, until a time."""

    until: int
    """Microseconds since 1970: lists and events before it count."""
    later: int
    """Lists since then."""
    clicks: dict[Pair, Clicks]


def read_shadows(layout: Layout) -> list[Shadow]:
    """By pair of versions. Raises UserError where a file is damaged."""
    log = journal.shadows(layout)
    log.finish()
    if not log.files():
        return []
    with engine.duckdb(layout.state) as connection, _readable():
        return [
            Shadow(*row) for row in connection.con.sql(_SHADOWS + _files(log) + _BY_PAIR).fetchall()
        ]


def read(layout: Layout, now: int, decision: int = 0) -> Shown:
    """What was shown until the last day (UTC) that ended before `now`; if none has, until `now`.

    Only by champions of this decision and later ones. Raises UserError where a file is damaged.
    """
    posted, shown = journal.events(layout), journal.exposures(layout)
    posted.finish()
    shown.finish()
    if not shown.files():
        return Shown(now, 0, {})
    with engine.duckdb(layout.state) as connection, _readable():
        query = connection.con
        _views(query, layout, posted, shown, decision)
        midnight = now // _DAY * _DAY
        [(before,)] = query.sql(f"select count(*) from shown where us < {midnight}").fetchall()
        until = midnight if before else now
        query.execute(_CLICKED.format(until=until, within=HOURS * _HOUR))
        [(later,)] = query.sql(f"select count(*) from shown where us >= {until}").fetchall()
        rows = query.sql(_BY_USER.format(until=until)).fetchall()
        positions = query.sql(_POSITIONS).fetchall()
    return Shown(until, later, _by_pair(rows, positions))


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except Error as error:
        what = f"what the service keeps cannot be read ({str(error).splitlines()[0]})"
        fix = "run it again, as an intake may have moved a file; move a damaged one elsewhere"
        raise engine.shortage(error) or UserError(what, fix) from None


def _views(
    query: Any, layout: Layout, posted: journal.Journal, shown: journal.Journal, decision: int
) -> None:
    """`shown` and `posted`, with times in microseconds; `query` is DuckDB's own connection."""
    query.register("any_lists", journal.EXPOSURES.empty_table())
    query.execute(
        "create temp table shown as select * exclude (time), epoch_us(time) as us from "
        f"(from {_files(shown)} union all by name from any_lists) where decision >= {decision}"
    )
    events = "select null::text as request, null::text as item, null::bigint as us"
    if posted.files():
        params = IngestParams.load(layout.params)
        item, time = (
            '"' + name.replace('"', '""') + '"' for name in (params.item_column, params.time_column)
        )
        events = f"select request, {item} as item, epoch_us({time}) as us from {_files(posted)}"
    query.execute(f"create temp view posted as {events}")


def _files(log: journal.Journal) -> str:
    names = ", ".join(engine.quoted(str(path)) for path in log.files())
    return f"read_parquet([{names}], union_by_name = true)"


_SHADOWS = """
select version, challenger, count(*), sum(lists)::bigint, sum(failed)::bigint,
    sum(overlap) / nullif(sum(lists - failed), 0),
    quantile_cont(seconds, 0.5), quantile_cont(seconds, 0.95),
    quantile_cont(challenger_seconds, 0.5), quantile_cont(challenger_seconds, 0.95)
from """
_BY_PAIR = " group by version, challenger order by all"
_CLICKED = """
create temp table clicked as
select distinct request, version, challenger, position, given_by[position] as team
from (
    select shown.*, list_position(items, item) as position
    from shown join posted using (request)
    where greatest(shown.us, posted.us) < {until} and abs(posted.us - shown.us) <= {within}
)
where position > 0
"""
_BY_USER = """
select version, challenger, "user" is not null as known, count(*) as lists,
    count(clicks.request) as clicked, sum(coalesce(credit, 0))::bigint as credit
from shown left join (
    select request, count(*) filter (team = challenger) - count(*) filter (team = version) as credit
    from clicked group by request
) as clicks using (request)
where us < {until}
group by version, challenger, "user" order by all
"""
_POSITIONS = """
select version, challenger, position, count(*) from clicked group by all order by all
"""


def _by_pair(rows: list[tuple[Any, ...]], positions: list[tuple[Any, ...]]) -> dict[Pair, Clicks]:
    found: defaultdict[Pair, list[list[Any]]] = defaultdict(list)
    for version, challenger, *row in rows:
        found[version, challenger].append(row)
    places: defaultdict[Pair, dict[int, int]] = defaultdict(dict)
    for version, challenger, place, count in positions:
        places[version, challenger][place] = count
    return {
        pair: Clicks(places[pair], *map(np.array, zip(*own, strict=True)))
        for pair, own in found.items()
    }
