"""Decisions, history, versions and checks as tables for people at a terminal.

A pass and a fail differ in words, not in colour alone.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from rich.console import RenderableType

from recctl.promotion.judge.gate import Gate
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import words
from recctl.promotion.view.schema import Check, HistoryRow, ModelVersion
from recctl.promotion.view.words import (
    OUTCOMES,
    brief,
    detail,
    interval,
    number,
    when,
)
from recctl.render.console import Console, Table, Text
from recctl.render.grid import STYLES, Cell, Column, Grid, Mark, left, right
from recctl.render.numbers import count, figure, signed
from recctl.render.text import one_line

_WIDTH = 120
"""Columns where the output is no terminal: reasons are folded there."""
_MARKS: dict[str, Mark] = {
    "pass": "good",
    "fail": "bad",
    "suspicious": "warning",
    "refused": "bad",
    "shown": "dim",
}
_VERDICT_MARKS: dict[str, Mark] = {"promoted": "good", "rejected": "bad", "provisional": "warning"}


def _cells(*texts: str | Cell) -> list[Cell]:
    return [text if isinstance(text, Cell) else Cell(text) for text in texts]


_WHY = partial(Column, fold=True, ratio=1)
"""A column of sentences: it takes the width that is left."""


# --- printing


def decision(
    record: DecisionRecord, row: HistoryRow | None = None, console: Console | None = None
) -> None:
    """Print a decision so that a person can decide from it; `row` is its place in the log."""
    position = row.position if row else None
    place = words.standing(row) if row else []
    mark = _VERDICT_MARKS.get(record.verdict or "", "strong")
    verdict = (words.verdict(record, position), STYLES[mark])
    last = Text.assemble(verdict, f": {words.sentence(record)}")
    notes = [Text("\n".join(place), "bold")] if place else []
    _print([*_decision_parts(record, position), last, *notes], console)


def comparison(record: DecisionRecord, console: Console | None = None) -> None:
    """Print two models side by side: figures, intervals and slices, no verdict."""
    last = Text("A comparison decides nothing; 'recctl promote' does.", "dim")
    _print([*_decision_parts(record, None), last], console)


def history(rows: Sequence[HistoryRow], console: Console | None = None) -> None:
    """Print the log, one decision per row, then the reasons that people gave."""
    notes = [note for row in rows for note in words.row_notes(row)]
    parts = [log(rows) if rows else Text("No decision has been taken yet.")]
    _print([*parts, *([Text("\n".join(notes))] if notes else [])], console)


def versions(rows: Sequence[ModelVersion], console: Console | None = None) -> None:
    """Print the registered versions."""
    _print([_versions(rows) if rows else Text("No version is registered yet.")], console)


def version(row: ModelVersion, console: Console | None = None) -> None:
    """Print all that is known of one registered version, a line per fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in row.content().items():
        lines = [one_line(line) for line in _fact(value)]
        table.add_row(Text(name.replace("_", " ")), Text("\n".join(lines) or "-"))
    _print([table], console)


def checks(rows: Sequence[Check], console: Console | None = None) -> None:
    """Print every check, then one line that sums them up."""
    grid = Grid("verify", [*left("what", fold=True), *left("result"), _WHY("detail")])
    for row in rows:
        result = Cell("ok") if row.ok else Cell("NOT OK", "bad")
        grid.add(one_line(row.name), result, one_line(row.detail))
    wrong = sum(not row.ok for row in rows)
    summary = (
        f"{wrong} of {len(rows)} checks failed."
        if wrong
        else f"{len(rows)} checks, everything is consistent."
    )
    _print([grid, Text(summary, "bold red" if wrong else "bold")], console)


# --- a decision


def _decision_parts(record: DecisionRecord, position: int | None) -> list[RenderableType | Grid]:
    """The heading, and the tables that have rows; the primary gate's remarks follow its figures."""
    dim = [("\n" + line, "dim") for line in words.circumstances(record)]
    heading = Text.assemble((words.title(record, position), "bold"), *dim)
    remarks = [Text("\n".join(words.remarks(record)))] if words.remarks(record) else []
    first, *rest = grids(record)
    return [
        heading,
        *([first] if first.rows else []),
        *remarks,
        *(grid for grid in rest if grid.rows),
    ]


def grids(record: DecisionRecord) -> list[Grid]:
    """The tables of a decision, primary metrics first; one without rows has nothing to say."""
    return [_primary(record), _other_gates(record), _slices(record), _means(record)]


def _primary(record: DecisionRecord) -> Grid:
    """The primary metrics: figures, difference, interval, what was needed, outcome."""
    names = words.sides(record)
    columns = left("metric", fold=True)
    columns += right(names["champion"], names["challenger"], "difference", "95% interval")
    columns += [] if record.kind == "comparison" else [*right("needed"), *left("verdict")]
    note = "paired over users; 95% intervals"
    rows = [
        _primary_cells(gate)[: len(columns)]
        for gate in record.of("primary")
        if gate.difference is not None
    ]
    return Grid("primary metrics", columns, note, rows)


def _primary_cells(gate: Gate) -> list[Cell]:
    worse = (gate.high or 0.0) < 0
    word = {
        "fail": "worse" if worse else "unproven",
        "pass": "better" if gate.details.get("better") else "no worse",
    }
    needed = "-" if gate.threshold is None else f"> {signed(gate.threshold)}"
    return _cells(
        one_line(gate.name).upper(),
        figure(gate.reference),
        figure(gate.challenger),
        Cell(signed(gate.difference), more=detail("effect", gate, "effect_size", 2)),
        Cell(interval(gate), more=detail("resolves", gate, "resolvable", 4)),
        Cell(needed, more=words.p_value(gate.p_value)),
        _outcome(gate, word.get(gate.outcome, "")),
    )


def _outcome(gate: Gate, more: str = "") -> Cell:
    return Cell(OUTCOMES[gate.outcome], _MARKS[gate.outcome], more)


def _other_gates(record: DecisionRecord) -> Grid:
    """Every gate but primary and slices in one line: what, outcome, why."""
    grid = Grid("gates", [*left("gate", "what", fold=True), *left("outcome"), _WHY("why")])
    for gate in record.gates:
        if gate.gate not in ("primary", "slices"):
            name = one_line(gate.gate).replace("_", " ")
            reason = one_line(gate.reason)
            grid.add(name, one_line(gate.name), _outcome(gate), reason)
    return grid


def _slices(record: DecisionRecord) -> Grid:
    """Groups of users: how many, difference, interval, Holm's p, outcome."""
    judged = record.kind != "comparison"
    columns = [*left("slice", fold=True), *right("users", "difference", "95% interval")]
    columns += [*right("Holm p"), *left("verdict")] if judged else []
    rows = [
        _cells(
            one_line(gate.name),
            count(gate.users),
            signed(gate.difference),
            interval(gate),
            figure(gate.details.get("p_holm"), 4),
            _slice_outcome(gate, record),
        )[: len(columns)]
        for gate in record.of("slices")
    ]
    note = _slices_note(record) if judged else "95% intervals"
    return Grid("slices", columns, note, rows)


def _slices_note(record: DecisionRecord) -> str:
    margin = ((record.policy or {}).get("slices") or {}).get("margin")
    needed = "" if margin is None else f"each must lose less than {figure(margin)}; "
    return f"{needed}p by Holm over the slices"


def _slice_outcome(gate: Gate, record: DecisionRecord) -> Cell:
    """As any outcome; a slice that decides nothing says why in two words."""
    if gate.outcome != "shown":
        return _outcome(gate)
    few = "no users" if not gate.users else "too few users"
    return Cell("all users" if gate.users == record.users else few, "dim")


def _means(record: DecisionRecord) -> Grid:
    """Means by model on the full and, where a champion was scored, on the common catalogue."""
    means = record.means
    parts = {"full": means.full, "common": means.common} if means else {}
    parts = {where: part for where, part in parts.items() if part}
    full = parts.get("full", {})
    judged = [gate.name for gate in record.of("primary")]  # the log sorts its keys by name
    names = _in_order({name for values in full.values() for name in values}, judged)
    columns = [
        *left("model", fold=True),
        *right(*(f"{one_line(name).upper()}\n{where}" for where in parts for name in names)),
    ]
    baselines = (record.policy or {}).get("baselines") or []
    rows = [
        _cells(
            words.sides(record).get(model, one_line(model)),
            *(figure(part.get(model, {}).get(name)) for part in parts.values() for name in names),
        )
        for model in _in_order(full, ["challenger", "champion", "best", *baselines])
    ]
    note = f"full: {count(record.catalogue)} items"
    if record.common_catalogue is not None:
        note += f", which the gates use; common: {count(record.common_catalogue)} items"
    return Grid("all models on today's test set", columns, note, rows)


def _in_order(names: Iterable[str], first: Sequence[str]) -> list[str]:
    """The names, those in `first` before the others, which are sorted."""
    known = sorted(names)
    return list(dict.fromkeys([*(name for name in first if name in known), *known]))


# --- the log and the versions


def log(rows: Sequence[HistoryRow], *, linked: bool = False) -> Grid:
    """One decision per row; `linked`: on a page its id leads to its own page."""
    names = ("when, who", "decision", "champion", "challenger", "difference")
    note = "differences by the first primary metric"
    grid = Grid("decisions", [*right("id"), *left(*names, fold=True)], note)
    for row in rows:
        unreadable = ["-", Cell("UNREADABLE", "bad"), "-", "-", "-"]
        cells = unreadable if row.body is None else _history_cells(row, row.body)
        link = f"{row.position:04d}/decision.html" if linked else ""
        grid.add(Cell(str(row.position), link=link), *cells)
    return grid


def _history_cells(row: HistoryRow, record: DecisionRecord) -> list[Cell | str]:
    challenger = record.challenger
    gates = [gate for gate in record.of("primary") if gate.difference is not None]
    mark = _VERDICT_MARKS.get(record.verdict or "", "")
    return [
        Cell(when(record.time), more=one_line(record.who)),
        Cell(words.row_verdict(row, record), mark, record.kind),
        words.moves(record) or "stays",
        Cell(number(challenger.version), more=one_line(challenger.model)) if challenger else "none",
        Cell(signed(gates[0].difference), more=interval(gates[0])) if gates else "-",
    ]


def _versions(rows: Sequence[ModelVersion]) -> Grid:
    """Every registered version in a row."""
    names = ("model, aliases", "digest", "registered", "from")
    grid = Grid("model versions", [*right("version"), *left(*names, fold=True)])
    for row in rows:
        grid.add(
            str(row.version),
            Cell(one_line(row.model), more=", ".join(map(one_line, row.aliases))),
            brief(row.digest),
            when(row.registered),
            Cell(f"data {brief(row.data_md5)}", more=f"commit {words.commit(row)}"),
        )
    return grid


def _fact(value: Any) -> list[str]:
    """A value as lines: a list on one, files with their digests on one each."""
    if isinstance(value, dict):
        return [f"{brief(digest)}  {name}" for name, digest in value.items()]
    if isinstance(value, list):
        return [", ".join(map(str, value))] if value else []
    return [] if value in (None, "") else [str(value)]


def _print(parts: Sequence[RenderableType | Grid], console: Console | None) -> None:
    console = console or Console(wide=_WIDTH)
    for place, part in enumerate(parts):
        if place:
            console.print()
        if isinstance(part, Grid):
            part.print(console)
        else:
            console.print(part)
