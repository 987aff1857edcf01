"""Decisions, history, versions and checks as tables for people at a terminal.

Whatever comes from outside (names, reasons, titles) is shown as plain text: neither rich's markup
nor a terminal's control codes in it do anything. Words, not colours, tell a pass from a fail.
"""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_WIDTH = 120
"""Columns where the output is no terminal: a log keeps whole lines."""
WORDS = {
    "pass": "pass",
    "fail": "FAIL",
    "suspicious": "SUSPICIOUS",
    "refused": "REFUSED",
    "shown": "shown",
}
"""An outcome in words that are told apart without colour."""
_STYLES = {"fail": "bold red", "suspicious": "bold yellow", "refused": "bold red", "shown": "dim"}
_VERDICT_STYLES = {"promoted": "bold green", "rejected": "bold red"}


def decision(
    body: dict[str, Any], position: int | None = None, console: Console | None = None
) -> None:
    """Print a decision so that a person can decide from it; `position` is its id in the log."""
    _print(decision_parts(body, position), console)


def comparison(body: dict[str, Any], console: Console | None = None) -> None:
    """Print two models side by side: figures, intervals and slices, no verdict."""
    _print(comparison_parts(body), console)


def history(rows: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print the log, one decision per row; a row is `schema.HistoryRow` as a dict."""
    _print(history_parts(rows), console)


def versions(rows: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print the registered versions; a row is `schema.ModelVersion` as a dict."""
    _print([versions_table(rows)], console)


def version(row: dict[str, Any], console: Console | None = None) -> None:
    """Print all that is known of one registered version."""
    _print([version_table(row)], console)


def checks(rows: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print what was looked at and whether it holds; a row is `schema.Check` as a dict."""
    _print(checks_parts(rows), console)


# --- a decision


def decision_parts(body: dict[str, Any], position: int | None = None) -> list[RenderableType]:
    """The heading, the tables that have rows, and the sentence with the verdict."""
    tables = [primary(body), other_gates(body), slices(body), catalogues(body)]
    return [
        heading(body, position),
        *(table for table in tables if table.row_count),
        sentence(body),
    ]


def comparison_parts(body: dict[str, Any]) -> list[RenderableType]:
    """As for a decision, without thresholds and without a verdict."""
    tables = [primary(body), other_gates(body), slices(body), catalogues(body)]
    return [
        heading(body, None),
        *(table for table in tables if table.row_count),
        Text("A comparison decides nothing; 'recctl promote' does.", "dim"),
    ]


def heading(body: dict[str, Any], position: int | None) -> Text:
    """What was judged, on what, by whom and when."""
    lines = [(title(body, position), "bold"), *((line, "dim") for line in circumstances(body))]
    return Text("\n").join(Text(line, style) for line, style in lines)


def title(body: dict[str, Any], position: int | None) -> str:
    """`Decision 7: promotion of recommender, PROMOTED`, or without a number when it is not kept."""
    model = clean(body["registered_model"])
    if body["kind"] == "comparison":
        return f"Comparison of {model}: {side(body, 'challenger')} and {side(body, 'champion')}"
    name = f"Decision {position}" if position is not None else "Decision (not kept)"
    forced = ", FORCED" if body.get("forced") else ""
    return f"{name}: {body['kind']} of {model}, {verdict(body)}{forced}"


def verdict(body: dict[str, Any]) -> str:
    """The verdict in capitals; a promotion that was done is told from a rollback or recovery."""
    return str(body.get("verdict") or "no verdict").upper()


def side(body: dict[str, Any], name: str) -> str:
    """`bert4rec, version 4`; `the workspace` where it is registered nowhere yet."""
    one = body.get(name)
    if not one:
        return "none"
    number = one.get("version")
    where = "the workspace" if number is None else f"version {number}"
    return f"{clean(one.get('model') or 'model')}, {where}"


def circumstances(body: dict[str, Any]) -> list[str]:
    """Lines of plain text below the title."""
    lines = []
    if body["kind"] != "comparison":
        lines.append(f"challenger {side(body, 'challenger')}; champion {side(body, 'champion')}")
    if body.get("users"):
        lines.append(_test_set(body))
    lines.append(f"{when(body['time'])} by {clean(body['who'])}")
    if body.get("reason"):
        lines.append(f"reason given: {clean(body['reason'])}")
    lines += [f"acknowledged: {clean(one)}" for one in body.get("acknowledges") or []]
    if moves(body):
        lines.append(f"champion {moves(body)}")
    return lines


def _test_set(body: dict[str, Any]) -> str:
    text = f"{body['users']:,} test users, {body['catalogue']:,} items"
    common = body.get("common_catalogue")
    return text if common is None else f"{text}, {common:,} of them known to both"


def moves(body: dict[str, Any]) -> str:
    """`3 -> 4`: the champion's version before and after; empty where nothing moves."""
    sets = body.get("sets")
    if not sets:
        return ""
    before, after = (body.get("saw") or {}).get("champion"), sets.get("champion")
    return f"{number(before)} -> {number(after)}"


def number(value: int | None) -> str:
    """A version's number, or `none`."""
    return "none" if value is None else str(value)


def of(body: dict[str, Any], *gates: str) -> list[dict[str, Any]]:
    """The rows of some gates, in their order."""
    return [gate for gate in body.get("gates") or [] if gate["gate"] in gates]


def others(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of every gate but primary and slices."""
    return [gate for gate in body.get("gates") or [] if gate["gate"] not in ("primary", "slices")]


def primary(body: dict[str, Any]) -> Table:
    """The primary metrics: figures, difference, interval, what was needed, outcome."""
    table = _table("primary metrics", "paired over users; 95% intervals", "metric")
    for name in ["champion", "challenger", "difference", "95% interval", "needed", "verdict"]:
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for gate in of(body, "primary"):
        table.add_row(
            Text(clean(gate["name"]).upper()),
            Text(figure(gate["reference"])),
            Text(figure(gate["challenger"])),
            _lines(signed(gate["difference"]), detail("effect", gate, "effect_size", 2)),
            _lines(interval(gate), detail("resolves", gate, "resolvable", 4)),
            Text(needed(gate)),
            _lines(_outcome(gate), p_value(gate["p_value"])),
        )
    return table


def other_gates(body: dict[str, Any]) -> Table:
    """Every other gate in one line: what, outcome, why."""
    table = _table("gates", "", "gate")
    table.add_column("what", overflow="fold")
    table.add_column("outcome")
    table.add_column("why", overflow="fold", ratio=1)
    for gate in others(body):
        name = clean(gate["gate"]).replace("_", " ")
        table.add_row(Text(name), Text(clean(gate["name"])), _outcome(gate), Text(why(gate)))
    return table


def slices(body: dict[str, Any]) -> Table:
    """Groups of users: how many, difference, interval, Holm's p, outcome."""
    table = _table("slices", "p by Holm over the slices", "slice")
    for name in ["users", "difference", "95% interval", "p (Holm)", "verdict"]:
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for gate in of(body, "slices"):
        table.add_row(
            Text(clean(gate["name"])),
            Text(count(gate["users"])),
            Text(signed(gate["difference"])),
            Text(interval(gate)),
            Text(short((gate.get("details") or {}).get("p_holm"), 4)),
            slice_outcome(gate),
        )
    return table


def slice_outcome(gate: dict[str, Any]) -> Text:
    """As any outcome; a slice that decides nothing says that its users are too few."""
    return Text("too few users", "dim") if gate["outcome"] == "shown" else _outcome(gate)


def catalogues(body: dict[str, Any]) -> Table:
    """Means by model on the full and on the common catalogue."""
    means = body.get("means") or {}
    full, common = means.get("full") or {}, means.get("common") or {}
    names = list(dict.fromkeys(name for cells in full.values() for name in cells))
    table = _table("all models, today's test set", "the gates use the full catalogue", "model")
    for where in ["full", "common"]:
        for name in names:
            table.add_column(f"{name.upper()}\n{where}", justify="right")
    for model in full:
        cells = [part.get(model, {}).get(name) for part in (full, common) for name in names]
        table.add_row(Text(clean(model)), *(Text(figure(cell)) for cell in cells))
    return table


def sentence(body: dict[str, Any]) -> Text:
    """The verdict and its sentence."""
    style = _VERDICT_STYLES.get(body.get("verdict") or "", "bold")
    return Text.assemble((verdict(body), style), f": {clean(body['sentence'])}")


def why(gate: dict[str, Any]) -> str:
    """The reason of a gate."""
    return clean(gate["reason"])


def needed(gate: dict[str, Any]) -> str:
    """What the lower end of the interval had to exceed."""
    return "-" if gate["threshold"] is None else f"> {signed(gate['threshold'])}"


# --- the log


def history_parts(rows: Sequence[dict[str, Any]]) -> list[RenderableType]:
    """The log's table, then the reasons that people gave."""
    if not rows:
        return [Text("No decision has been taken yet.")]
    table = _table("decisions", "differences by the first primary metric", "id", "right")
    for name in ["when, who", "decision", "champion", "challenger", "difference"]:
        table.add_column(name)
    for row in rows:
        table.add_row(str(row["position"]), *_history_cells(row, row["body"]))
    notes = [Text(note) for row in rows for note in row_notes(row)]
    return [table, *notes]


def _history_cells(row: dict[str, Any], body: dict[str, Any]) -> list[Text]:
    challenger = body.get("challenger") or {}
    gate = next(iter(of(body, "primary")), None)
    difference = (signed(gate["difference"]), interval(gate)) if gate else ("-", "")
    return [
        _lines(when(body["time"]), clean(body["who"])),
        _lines(Text(row_verdict(row), _VERDICT_STYLES.get(body["verdict"], "")), body["kind"]),
        Text(moves(body) or "stays"),
        _lines(number(challenger.get("version")), clean(challenger.get("model") or "")),
        _lines(*difference),
    ]


def row_verdict(row: dict[str, Any]) -> str:
    """The verdict with whether it counts: `PROMOTED, forced`, `PROMOTED, void`."""
    words = [verdict(row["body"])]
    words += ["forced"] if row["body"].get("forced") else []
    words += [] if row.get("in_force", True) else ["void"]
    words += [row["state"]] if row["state"] != "done" else []
    return ", ".join(words)


def row_notes(row: dict[str, Any]) -> list[str]:
    """What a person wrote to a decision, and what void means where it is."""
    notes = []
    if row["body"].get("reason"):
        notes.append(f"{row['position']}: {clean(row['body']['reason'])}")
    if not row.get("in_force", True):
        notes.append(f"{row['position']}: void, another decision came first; nobody acts on it")
    return notes


# --- versions and checks


def versions_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Every registered version in a row."""
    table = _table("model versions", "", "version", "right")
    for name in ["model", "aliases", "digest", "registered", "data", "commit", "run"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        cells = [
            clean(row["model"]),
            ", ".join(clean(one) for one in row["aliases"]) or "-",
            brief(row["digest"]),
            when(row["registered"]),
            brief(row.get("data_md5")),
            commit(row),
            brief(row.get("run_id")),
        ]
        table.add_row(str(row["version"]), *(Text(cell) for cell in cells))
    return table


def version_table(row: dict[str, Any]) -> Table:
    """One version, a line per fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in row.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        text = "-" if shown in (None, "") else clean(str(shown))
        table.add_row(Text(name.replace("_", " ")), Text(text))
    return table


def checks_parts(rows: Sequence[dict[str, Any]]) -> list[RenderableType]:
    """What was looked at, then one line that sums it up."""
    table = _table("verify", "", "what")
    table.add_column("result")
    table.add_column("detail", overflow="fold", ratio=1)
    for row in rows:
        result = Text("ok") if row["ok"] else Text("NOT OK", "bold red")
        table.add_row(Text(clean(row["name"])), result, Text(clean(row["detail"])))
    wrong = sum(not row["ok"] for row in rows)
    summary = f"{wrong} of {len(rows)} checks failed." if wrong else "Everything is consistent."
    return [table, Text(summary, "bold red" if wrong else "bold")]


def commit(row: dict[str, Any]) -> str:
    """The commit, with a word where the tree was not clean."""
    dirty = str(row.get("dirty")).lower() == "true"
    return brief(row.get("commit")) + (" (dirty)" if dirty else "")


# --- figures and words


def clean(text: str) -> str:
    """Text from outside as one line without control characters.

    >>> clean("a\\x1b[31m\\nb")
    'a [31m b'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def figure(value: float | None) -> str:
    """A metric's value without its leading zero.

    >>> figure(0.15372), figure(None)
    ('.1537', '-')
    """
    return short(value, 4)


def short(value: float | None, digits: int) -> str:
    """A number without its leading zero; `-` for none."""
    return "-" if value is None else f"{value:.{digits}f}".replace("0.", ".", 1)


def signed(value: float | None, digits: int = 4) -> str:
    """A difference with its sign and without its leading zero.

    >>> signed(0.0123), signed(-0.0123), signed(0.0), signed(-0.00001)
    ('+.0123', '-.0123', '.0000', '.0000')
    """
    if value is None:
        return "-"
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else "-" if rounded < 0 else ""
    return sign + f"{abs(rounded):.{digits}f}".removeprefix("0")


def interval(gate: dict[str, Any]) -> str:
    """`-.0012 to +.0145`, or `-` where none was computed."""
    if gate["low"] is None or gate["high"] is None:
        return "-"
    return f"{signed(gate['low'])} to {signed(gate['high'])}"


def p_value(value: float | None) -> str:
    """`p .0123`; empty where none was computed."""
    if value is None:
        return ""
    return "p < .0001" if value < 0.0001 else f"p {short(value, 4)}"


def detail(word: str, gate: dict[str, Any], name: str, digits: int) -> str:
    """A further figure of a gate with its word; empty where it was not computed."""
    value = (gate.get("details") or {}).get(name)
    return "" if value is None else f"{word} {short(value, digits)}"


def count(value: int | None) -> str:
    """A whole number with commas."""
    return "-" if value is None else f"{value:,}"


def when(time: str) -> str:
    """An ISO time to the minute.

    >>> when("2026-03-01T12:34:56.789+00:00")
    '2026-03-01 12:34'
    """
    return clean(time)[:16].replace("T", " ")


def brief(digest: str | None) -> str:
    """The first twelve characters of a digest."""
    return clean(digest)[:12] if digest else "-"


def _outcome(gate: dict[str, Any]) -> Text:
    return Text(WORDS.get(gate["outcome"], gate["outcome"]), _STYLES.get(gate["outcome"], ""))


def _lines(first: str | Text, second: str) -> Text:
    """A cell of two lines, the second dim."""
    text = first.copy() if isinstance(first, Text) else Text(first)
    return text.append(f"\n{second}", "dim") if second else text


def _table(title: str, note: str, first: str, justify: Any = "left") -> Table:
    heading = Text.assemble((title, "bold"), (f"  {note}", "dim"))
    table = Table(title=heading, title_justify="left", title_style="", box=SIMPLE_HEAD)
    table.pad_edge = False
    table.collapse_padding = True
    table.add_column(first, justify=justify, overflow="fold")
    return table


def _print(parts: Sequence[RenderableType], console: Console | None) -> None:
    console = console or Console()
    if not console.is_terminal and console.width < _WIDTH:
        console = Console(width=_WIDTH)
    for part in parts:
        console.print(Padding(part, 0) if isinstance(part, Table) else part, highlight=False)
