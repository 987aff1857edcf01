"""The clicks by version as tables for a terminal."""

from recctl.online.clicks import HOURS
from recctl.online.report import Report, Share
from recctl.render.grid import Cell, Grid, left, right
from recctl.render.numbers import count, percent

_FIRST = 10
"""Positions with a column."""


def grids(report: Report) -> list[Grid]:
    """The versions, their clicks by position, and the interleaved pairs; those with rows."""
    every = (_versions(report), _positions(report), _pairs(report), _shadows(report))
    return [grid for grid in every if grid.rows]


def _versions(report: Report) -> Grid:
    note = "versions served at other times and other users: compare them by interleaving"
    names = ("lists", "users", "clicks", "CTR", "by user", "interval")
    grid = Grid("Lists of one version", [*left("version"), *right(*names)], note)
    for one in report.versions:
        figures = (count(one.lists), count(one.users), count(one.clicks), percent(one.ctr))
        grid.add(str(one.version), *figures, *_cells(one.by_user))
    return grid


def _positions(report: Report) -> Grid:
    names = [*map(str, range(1, _FIRST + 1)), f"{_FIRST + 1} on"]
    grid = Grid("Clicks by position", [*left("version"), *right(*names)])
    for one in report.versions:
        first = [one.positions.get(place, 0) for place in range(1, _FIRST + 1)]
        if one.clicks:
            grid.add(str(one.version), *map(count, [*first, one.clicks - sum(first)]))
    return grid


def _pairs(report: Report) -> Grid:
    names = ("lists", "users", "clicks", "wins", "ties", "losses", "preferred", "interval")
    columns = [*left("champion", "challenger"), *right(*names)]
    grid = Grid("Interleaved lists", columns, "wins: users who clicked more of the challenger's")
    for one in report.interleaved:
        figures = (one.lists, one.users, one.clicks, one.wins, one.ties, one.losses)
        cells = [*map(count, figures), *_cells(one.preferred)]
        grid.add(str(one.champion), str(one.challenger), *cells)
    return grid


def _shadows(report: Report) -> Grid:
    note = "the challenger repeated passes of the champion; its lists were not shown"
    names = (
        "passes",
        "lists",
        "failed",
        "overlap",
        "champion p50 ms",
        "p95",
        "challenger p50 ms",
        "p95",
    )
    grid = Grid("In the shadow", [*left("champion", "challenger"), *right(*names)], note)
    for one in report.shadows:
        failed = Cell(count(one.failed), "bad" if one.failed else "")
        shared = "-" if one.overlap is None else percent(one.overlap)
        times = (one.p50, one.p95, one.challenger_p50, one.challenger_p95)
        cells = ["-" if time is None else f"{1000 * time:.1f}" for time in times]
        grid.add(
            str(one.champion),
            str(one.challenger),
            count(one.passes),
            count(one.lists),
            failed,
            shared,
            *cells,
        )
    return grid


def _cells(share: Share) -> list[str]:
    value = "-" if share.value is None else percent(share.value)
    if share.low is None or share.high is None:
        return [value, "-"]
    return [value, f"{percent(share.low)} to {percent(share.high)}"]


def sentence(report: Report) -> str:
    """Until when shown lists count."""
    when = f"{report.until.removesuffix('+00:00').replace('T', ' ')} UTC"
    text = f"Lists before {when}, clicks within {HOURS} hours of them"
    if not report.ended:
        return f"{text}; intervals come when the first day has ended."
    return f"{text}; {report.later:,} lists since then count when their day has ended."
