"""How the times of a log are written, inferred from all of them: a unit or a format."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import ibis
import ibis.expr.types as ir

from recctl.data import engine, interactions
from recctl.data.batches import iso
from recctl.data.params import TimeUnit
from recctl.errors import UserError, option

SAMPLE = 1000
"""Values from which the formats to try are taken."""
MOST_FORMATS = 12
"""Formats tried on the whole column."""

_UNITS = ("s", "ms", "us", "ns")
_FIRST, _LAST = 31_536_000, 4_133_980_800
"""The years 1971 and 2101 in seconds: the ranges of the units do not overlap."""


_SERIAL = (25_569, 73_050)
"""The years 1970 to 2099 as Excel's serial dates: days since 1899-12-30."""


@dataclass(frozen=True)
class Reading:
    """How the times of a log are read, and a note on it for the user."""

    unit: TimeUnit = "s"
    form: str | None = None
    note: str | None = None


def inferred(table: ir.Table, where: str, unit: TimeUnit | None) -> Reading:
    """How the column `timestamp` of a staged table is read; `unit` is the one the user named.

    Raises UserError when the column holds nothing that could be a time, times in several units,
    or dates whose day and month could be swapped.
    """
    text = table.timestamp.strip()
    texts = table.select(text=text.nullif("")).filter(ibis._.text.notnull())
    counts = _counts(texts)
    if counts["all"] == 0:  # ingest reports the causes
        return Reading(unit or "s")
    if unit is not None:
        return Reading(unit, note=_mixed(counts, unit, where))
    if counts["iso"] * 2 > counts["all"]:
        return Reading("iso")
    if counts["number"] * 2 > counts["all"]:
        return _numeric(texts, where, counts)
    return _dated(texts, where, counts["all"])


def _counts(texts: ir.Table) -> dict[str, int]:
    number = interactions.decimal(texts.text)
    windows = {
        name: number.between(_FIRST * 1000**n, _LAST * 1000**n).sum().fill_null(0)
        for n, name in enumerate(_UNITS)
    }
    numbers = texts.agg(
        all=texts.count(),
        number=number.count(),
        serial=number.between(*_SERIAL).sum().fill_null(0),
        median=number.abs().median().fill_null(0.0),
        **windows,
    )
    isos = texts.select(timestamp=texts.text)
    iso = interactions.microseconds(isos, "iso")
    return {**engine.row(numbers), **engine.row(isos.agg(iso=iso.count()))}


def _mixed(counts: dict[str, int], unit: TimeUnit, where: str) -> str | None:
    """A note on times whose size is that of another unit.

    Raises UserError where these would be read as January 1970 and others would not.
    """
    others = [name for name in _UNITS if name != unit and counts[name]]
    if not others or unit not in _UNITS:
        return None
    if counts[unit] and _UNITS.index(others[0]) < _UNITS.index(unit):
        raise _of_different_units(counts, where, "convert them to one")
    return f"of {counts['all']:,} times {_sizes(counts, others)}: all are read as {unit}"


def _sizes(counts: dict[str, int], units: list[str]) -> str:
    return " and ".join(f"{counts[name]:,} of the size of {name}" for name in units)


def _of_different_units(counts: dict[str, int], where: str, fix: str) -> UserError:
    units = [name for name in _UNITS if counts[name]]
    return UserError(f"the times {where} are of different units: {_sizes(counts, units)}", fix)


def _numeric(texts: ir.Table, where: str, counts: dict[str, int]) -> Reading:
    form = _compact(texts, counts["number"])
    if form is not None:
        return Reading(form=form, note=f"the times are dates such as {_first(texts)}: '{form}'")
    if counts["serial"] == counts["number"]:
        raise _excel(texts, where)
    units = [name for name in _UNITS if counts[name]]
    if len(units) > 1:
        fix = f"convert them to one, or name the unit {option('time_unit')}"
        raise _of_different_units(counts, where, fix)
    size = sum(counts["median"] >= limit for limit in (1e11, 1e14, 1e17))
    return Reading(cast(TimeUnit, units[0] if units else _UNITS[size]))


def _excel(texts: ir.Table, where: str) -> UserError:
    numbers = texts.filter(interactions.decimal(texts.text).notnull())
    first = _first(numbers)
    date = datetime(1899, 12, 30) + timedelta(days=float(first))
    return UserError(
        f"the times {where} look like Excel's serial dates, days since 1899-12-30: "
        f"{first} would be {date:%Y-%m-%d %H:%M}",
        "format the column in Excel as yyyy-mm-dd hh:mm:ss and save the file again, or, if they "
        f"are seconds since 1970, say so {option('time_unit')}: --time-unit s",
    )


_COMPACT = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


def _compact(texts: ir.Table, numbers: int) -> str | None:
    """The format of dates without separators, such as 20240131, if most are such."""
    sample = texts.limit(SAMPLE).to_pyarrow()["text"].to_pylist()
    [(size, _)] = Counter(map(len, sample)).most_common(1)
    form = _COMPACT.get(size)
    if form is None:
        return None
    us = interactions.formatted(texts.text, form)
    years = us.between(-2_208_988_800_000_000, _LAST * 10**6)  # from 1900
    fit = texts.text.re_search(rf"^[0-9]{{{size}}}$") & years
    return form if engine.row(texts.agg(fit=fit.sum().fill_null(0)))["fit"] * 2 > numbers else None


def _first(texts: ir.Table) -> str:
    return str(texts.limit(1).to_pyarrow()["text"][0].as_py())


def _dated(texts: ir.Table, where: str, count: int) -> Reading:
    """The format that reads most times."""
    sample = texts.limit(SAMPLE).to_pyarrow()["text"].to_pylist()
    counted = Counter(form for value in sample for form in formats_of(value))
    forms = [form for form, _ in counted.most_common(MOST_FORMATS)]
    parsed = {form: interactions.formatted(texts.text, form) for form in forms}
    read = engine.row(texts.agg(**{f: us.count() for f, us in parsed.items()})) if forms else {}
    best = max(forms, key=lambda form: read[form], default="")
    if not forms or read[best] * 2 < count:
        raise UserError(
            f"the times {where} are neither numbers nor ISO 8601, nor dates of a known format "
            f"(the first is '{_first(texts)}')",
            f"name another column {option('time_column')}, or give their format "
            f"{option('time_format')}",
        )
    proof = None
    for rival in forms:
        if rival != best and sorted(rival) == sorted(best):  # the same parts in another order
            proof = _settled(texts, where, best, rival)
    proven = f", as '{proof}' proves" if proof else ""
    return Reading(form=best, note=f"the times are read as '{best}'{proven}")


def _settled(texts: ir.Table, where: str, best: str, rival: str) -> str:
    """A time that only `best` reads; UserError where both formats read all times."""
    first, second = (interactions.formatted(texts.text, form) for form in (best, rival))
    both = texts.mutate(first=first, second=second)
    only = _example(both.filter(both.first.notnull() & both.second.isnull()))
    contrary = _example(both.filter(both.first.isnull() & both.second.notnull()))
    if only and not contrary:
        return str(only["text"])
    agreed = both.filter(both.first.notnull() & both.second.notnull())
    example = _example(agreed.filter(agreed.first != agreed.second)) or _example(agreed)
    if only and contrary:
        seen = f"'{only['text']}' is only the first and '{contrary['text']}' only the second"
    else:
        assert example is not None, "each of the formats reads some times"
        seen = f"'{example['text']}' is {_shown(example['first'])} or {_shown(example['second'])}"
    raise UserError(
        f"the times {where} can be read in two ways, '{best}' and '{rival}': {seen}",
        f"say which {option('time_format')}: --time-format '{best}' or --time-format '{rival}'",
    )


def _example(rows: ir.Table) -> dict[str, Any] | None:
    first = rows.limit(1).to_pyarrow().to_pylist()
    return first[0] if first else None


def _shown(microseconds: int) -> str:
    return str(iso(microseconds)).removesuffix("+00:00").replace("T", " ")


_DATE = re.compile(
    r"(?:(?P<day>[A-Za-z]{3,9})(?P<comma>,?) )?"
    r"(?P<a>[0-9]{1,4}|[A-Za-z]{3,9})(?P<s>[-/. ])(?P<b>[0-9]{1,2}|[A-Za-z]{3,9})"
    r"(?P<t>,? |[-/.])(?P<c>[0-9]{4}|[0-9]{2})(?![0-9:])"
)
_TIME = re.compile(
    r"(?P<gap>T| +|, )(?P<h>[0-9]{1,2})(?P<dot>[:.])[0-9]{2}"
    r"(?P<sec>[:.][0-9]{2}(?P<frac>[.][0-9]{1,9})?)?(?P<am> ?[AaPp][Mm])?"
)
_ZONE = re.compile(r"(?P<gap> ?)(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)")
_UNIX = re.compile(  # as in `Wed Dec 01 08:26:00 +0000 2010`
    r"[A-Za-z]{3} (?P<m>[A-Za-z]{3}) +[0-9]{1,2} [0-9]{2}:[0-9]{2}:[0-9]{2} "
    r"(?P<zone>[+-][0-9]{4} |UTC |GMT )?[0-9]{4}"
)


def formats_of(text: str) -> list[str]:
    """The strptime formats that may fit a date, the likelier ones first.

    >>> formats_of("01/12/2010 08:26")
    ['%d/%m/%Y %H:%M', '%m/%d/%Y %H:%M']
    >>> formats_of("Dec 1, 2010")
    ['%b %d, %Y', '%B %d, %Y']
    """
    if unix := _UNIX.fullmatch(text):
        zone = unix["zone"] or ""
        return [f"%a %b %d %H:%M:%S {'%z ' if zone[:1] in '+-' and zone else zone}%Y"]
    date = _DATE.match(text)
    if date is None:
        return []
    rest = _rest(text[date.end() :])
    if rest is None:
        return []
    weekday = ("%a" if len(date["day"]) == 3 else "%A") + date["comma"] + " " if date["day"] else ""
    return [
        f"{weekday}{first}{date['s']}{second}{date['t']}{third}{rest}"
        for first, second, third in _orders(date["a"], date["b"], date["c"])
    ]


def _orders(a: str, b: str, c: str) -> list[tuple[str, str, str]]:
    """The possible orders of the three parts of a date."""
    year = "%Y" if len(c) == 4 else "%y"
    if a.isalpha():
        return [] if b.isalpha() else [(month, "%d", year) for month in _months(a)]
    if b.isalpha():
        if len(a) == 4:
            return [("%Y", month, "%d") for month in _months(b)] if len(c) == 2 else []
        return [("%d", month, year) for month in _months(b)]
    if len(a) == 4:
        return [("%Y", "%m", "%d")] if len(c) == 2 else []
    if len(a) > 2:
        return []
    orders = [("%d", "%m", year), ("%m", "%d", year)]
    return orders if year == "%Y" else [*orders, ("%y", "%m", "%d")]


def _months(name: str) -> list[str]:
    return ["%b", "%B"] if len(name) == 3 else ["%B"]


def _rest(text: str) -> str | None:
    """The format of the text after a date; None where it is not a time."""
    if not text:
        return ""
    time = _TIME.match(text)
    if time is None:
        return None
    dot = time["dot"]
    form = time["gap"] + ("%I" if time["am"] else "%H") + f"{dot}%M"
    if time["sec"]:
        form += f"{time['sec'][0]}%S" + (".%n" if time["frac"] else "")
    if time["am"]:
        form += " %p" if time["am"][0] == " " else "%p"
    tail = text[time.end() :]
    if not tail:
        return form
    zone = _ZONE.fullmatch(tail)
    if zone is None:
        return None
    return form + zone["gap"] + ("%z" if zone["zone"][0] in "+-" else zone["zone"])
