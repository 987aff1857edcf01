"""Decisions, history, versions and checks as tables for people at a terminal.

Words, not colours, tell a pass from a fail.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import RenderableType

from recctl.promotion.judge import gate as words
from recctl.render.console import SIMPLE_HEAD, Console, Table, Text
from recctl.render.text import one_line

_WIDTH = 120
"""Columns where the output is no terminal: reasons are folded there."""
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
    body: dict[str, Any],
    position: int | None = None,
    console: Console | None = None,
    *,
    row: dict[str, Any] | None = None,
) -> None:
    """Print a decision so that a person can decide from it; `position` is its id in the log.

    `row` is its `schema.HistoryRow`: given that, one that does not count says so.
    """
    place = [Text("\n".join(standing(row)), "bold")] if row and standing(row) else []
    _print([*decision_parts(body, position), *place], console)


def comparison(body: dict[str, Any], console: Console | None = None) -> None:
    """Print two models side by side: figures, intervals and slices, no verdict."""
    _print(comparison_parts(body), console)


def history(rows: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print the log, one decision per row; a row is `schema.HistoryRow` as a dict."""
    _print(history_parts(rows), console)


def versions(rows: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print the registered versions; a row is `schema.ModelVersion` as a dict."""
    none = Text("No version is registered yet.")
    _print([versions_table(rows) if rows else none], console)


def version(row: dict[str, Any], console: Console | None = None) -> None:
    """Print all that is known of one registered version."""
    _print([version_table(row)], console)


def checks(rows: Sequence[dict[str, Any]], console: Console | None = None) -> None:
    """Print what was looked at and whether it holds; a row is `schema.Check` as a dict."""
    _print(checks_parts(rows), console)


# --- a decision


def decision_parts(body: dict[str, Any], position: int | None = None) -> list[RenderableType]:
    """The heading, the tables that have rows, and the sentence with the verdict."""
    return [heading(body, position), *_tables(body), sentence(body, position)]


def comparison_parts(body: dict[str, Any]) -> list[RenderableType]:
    """As for a decision, without thresholds and without a verdict."""
    last = Text("A comparison decides nothing; 'recctl promote' does.", "dim")
    return [heading(body, None), *_tables(body), last]


def _tables(body: dict[str, Any]) -> list[RenderableType]:
    """Those that have rows; what the primary gate says besides comes below its figures."""
    lines = [Text("\n".join(remarks(body)))] if remarks(body) else []
    rest = [table for table in (other_gates(body), slices(body), catalogues(body)) if table.rows]
    first = primary(body)
    return [*([first] if first.rows else []), *lines, *rest]


def heading(body: dict[str, Any], position: int | None) -> Text:
    """What was judged, on what, by whom and when."""
    lines = [(title(body, position), "bold"), *((line, "dim") for line in circumstances(body))]
    return Text.assemble(*[part for line, style in lines for part in ("\n", (line, style))][1:])


def title(body: dict[str, Any], position: int | None) -> str:
    """`Decision 7: promotion of recommender, REJECTED`; without a number where it is not kept."""
    model = clean(body["registered_model"])
    if body["kind"] == "comparison":
        return f"Comparison of {model}: {side(body, 'challenger')} and {side(body, 'champion')}"
    name = "Decision, not kept" if position is None else f"Decision {position}"
    return f"{name}: {body['kind']} of {model}, {verdict(body, position)}"


def verdict(body: dict[str, Any], position: int | None) -> str:
    """What came of it in capitals; it says `would be` of what is not in the log."""
    if body["kind"] == "recovery":  # its verdict is that of the promotion it undid
        return "RECOVERED"
    given, forced = body.get("verdict") or "promoted", body.get("forced")
    if given != "promoted" and not forced:
        return clean(given).upper()
    done = "ROLLED BACK" if body["kind"] == "rollback" else "PROMOTED"
    done += " BY FORCE" if forced else ""
    return done if position is not None else f"WOULD BE {done}"


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
    lines = [] if body["kind"] == "comparison" else [_contenders(body)]
    if body.get("users"):
        lines.append(_test_set(body))
    lines.append(f"{when(body['time'])} UTC by {clean(body['who'])}")
    if body.get("approved_by"):
        lines.append(f"approved by {clean(body['approved_by'])}")
    if body.get("reason"):
        lines.append(f"reason given: {clean(body['reason'])}")
    lines += [f"acknowledged: {clean(one)}" for one in body.get("acknowledges") or []]
    return lines


def _contenders(body: dict[str, Any]) -> str:
    """Who stands against whom; for a rollback what serves from now on."""
    before, after = (body.get("saw") or {}).get("champion"), moves(body)
    if body["kind"] == "promotion":
        text = f"challenger: {side(body, 'challenger')}; champion: "
        text += side(body, "champion") if body.get("champion") else _unscored(before)
    else:
        text = f"champion: {_unscored(before)}"
    return f"{text}; the alias moves from {after}" if after else text


def _unscored(number: int | None) -> str:
    return "none yet" if number is None else f"version {number}"


def _test_set(body: dict[str, Any]) -> str:
    text = f"{body['users']:,} test users, {body['catalogue']:,} items"
    common = body.get("common_catalogue")
    return text if common is None else f"{text}, {common:,} of them known to both"


def moves(body: dict[str, Any]) -> str:
    """`3 to 4`: the champion's version before and after; empty where nothing moves."""
    sets = body.get("sets")
    if not sets:
        return ""
    before, after = (body.get("saw") or {}).get("champion"), sets.get("champion")
    return f"{number(before)} to {number(after)}"


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
    judged = body["kind"] != "comparison"
    names = [sides(body)["champion"], sides(body)["challenger"], "difference", "95% interval"]
    for name in [*names, *(["needed", "verdict"] * judged)]:
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for gate in of(body, "primary"):
        if gate["difference"] is not None:
            table.add_row(*_primary_cells(gate)[: len(table.columns)])
    return table


def sides(body: dict[str, Any]) -> dict[str, str]:
    """What people call challenger and champion: in a comparison nobody challenges anybody."""
    found = {"challenger": "challenger", "champion": "champion"}
    if body["kind"] == "comparison":
        for name in found:
            number = (body.get(name) or {}).get("version")
            found[name] = "workspace" if number is None else f"version {number}"
    return found


def _primary_cells(gate: dict[str, Any]) -> list[Text]:
    better = (gate.get("details") or {}).get("better")
    worse = (gate.get("high") or 0.0) < 0
    word = {"fail": "worse" if worse else "unproven", "pass": "better" if better else "no worse"}
    return [
        Text(clean(gate["name"]).upper()),
        Text(figure(gate["reference"])),
        Text(figure(gate["challenger"])),
        _lines(signed(gate["difference"]), detail("effect", gate, "effect_size", 2)),
        _lines(interval(gate), detail("resolves", gate, "resolvable", 4)),
        _lines(needed(gate), p_value(gate["p_value"])),
        _lines(_outcome(gate), word.get(gate["outcome"], "")),
    ]


def remarks(body: dict[str, Any]) -> list[str]:
    """Sentences of the primary gate: of rows without a difference and of those that fail."""
    return [
        f"{WORDS.get(gate['outcome'], clean(gate['outcome']))}: {why(gate)}"
        for gate in of(body, "primary")
        if gate["difference"] is None or gate["outcome"] not in ("pass", "shown")
    ]


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
    judged = body["kind"] != "comparison"
    table = _table("slices", _slices_note(body) if judged else "95% intervals", "slice")
    for name in ["users", "difference", "95% interval", *(["Holm p", "verdict"] * judged)]:
        table.add_column(name, justify="left" if name == "verdict" else "right")
    for gate in of(body, "slices"):
        cells = [
            Text(clean(gate["name"])),
            Text(count(gate["users"])),
            Text(signed(gate["difference"])),
            Text(interval(gate)),
            Text(short((gate.get("details") or {}).get("p_holm"), 4)),
            slice_outcome(gate, body),
        ]
        table.add_row(*cells[: len(table.columns)])
    return table


def _slices_note(body: dict[str, Any]) -> str:
    policy = (body.get("policy") or {}).get("slices") or {}
    margin = policy.get("margin")
    needed = "" if margin is None else f"each must lose less than {figure(margin)}; "
    return f"{needed}p by Holm over the slices"


def slice_outcome(gate: dict[str, Any], body: dict[str, Any]) -> Text:
    """As any outcome; a slice that decides nothing says why in two words."""
    if gate["outcome"] != "shown":
        return _outcome(gate)
    words = "no users" if not gate["users"] else "too few users"
    return Text("all users" if gate["users"] == body.get("users") else words, "dim")


def catalogues(body: dict[str, Any]) -> Table:
    """Means by model on the full and, where a champion was scored, on the common catalogue."""
    means = body.get("means") or {}
    parts = {where: means[where] for where in ("full", "common") if means.get(where)}
    full = parts.get("full", {})
    names = _in_order({name for cells in full.values() for name in cells}, metrics_of(body))
    table = _table("all models on today's test set", _catalogue_note(body), "model")
    for where in parts:
        for name in names:
            table.add_column(Text(f"{clean(name).upper()}\n{where}"), justify="right")
    baselines = (body.get("policy") or {}).get("baselines") or []
    for model in _in_order(full, [*_CONTENDERS, *baselines]):
        cells = [part.get(model, {}).get(name) for part in parts.values() for name in names]
        name = sides(body).get(model, clean(model))
        table.add_row(Text(name), *(Text(figure(cell)) for cell in cells))
    return table


_CONTENDERS = ["challenger", "champion", "best"]


def metrics_of(body: dict[str, Any]) -> list[str]:
    """The metrics that were judged, in the policy's order; the log sorts its keys by name."""
    return [gate["name"] for gate in of(body, "primary")]


def _in_order(names: Iterable[str], first: Sequence[str]) -> list[str]:
    """Those of `first` that there are, then the others by name."""
    there = sorted(names)
    known = [name for name in dict.fromkeys(first) if name in there]
    return [*known, *(name for name in there if name not in known)]


def _catalogue_note(body: dict[str, Any]) -> str:
    common = body.get("common_catalogue")
    text = f"full: {count(body.get('catalogue'))} items"
    return text if common is None else f"{text}, which the gates use; common: {common:,} items"


def sentence(body: dict[str, Any], position: int | None) -> Text:
    """The verdict and its sentence."""
    style = _VERDICT_STYLES.get(body.get("verdict") or "", "bold")
    return Text.assemble((verdict(body, position), style), f": {said(body)}")


def said(body: dict[str, Any]) -> str:
    """The sentence without the verdict's word, where that stands before it everywhere."""
    text = clean(body.get("sentence") or "")
    if body.get("forced"):
        return f"judged {text}" if body["kind"] == "promotion" else text
    return text.removeprefix(f"{body.get('verdict')}: ")


def why(gate: dict[str, Any]) -> str:
    """A gate's reason, as one line."""
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
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(str(row["position"]), *_history_cells(row, row["body"]))
    notes = [note for row in rows for note in row_notes(row)]
    return [table, *([Text("\n".join(notes))] if notes else [])]


def _history_cells(row: dict[str, Any], body: dict[str, Any] | None) -> list[Text]:
    if body is None:
        return [Text("-"), Text("UNREADABLE", "bold red"), *[Text("-")] * 3]
    challenger = body.get("challenger") or {}
    gate = next((one for one in of(body, "primary") if one["difference"] is not None), None)
    difference = (signed(gate["difference"]), interval(gate)) if gate else ("-", "")
    style = _VERDICT_STYLES.get(body.get("verdict") or "", "")
    return [
        _lines(when(body["time"]), clean(body["who"])),
        _lines(Text(row_verdict(row), style), body["kind"]),
        Text(moves(body) or "stays"),
        _lines(number(challenger.get("version")), clean(challenger.get("model") or "")),
        _lines(*difference),
    ]


def row_verdict(row: dict[str, Any]) -> str:
    """The verdict with whether it counts: `PROMOTED`, `PROMOTED, void`."""
    marks = [verdict(row["body"], row["position"])]
    marks += [] if row.get("in_force", True) else ["void"]
    marks += [row["state"]] if row["state"] != "done" else []
    return ", ".join(marks)


def row_notes(row: dict[str, Any]) -> list[str]:
    """What a person wrote to a decision, and whether it counts."""
    if row["body"] is None:
        said = "it was altered, or recctl did not write it; see 'recctl verify'"
        return [f"decision {row['position']}: cannot be read: {said}"]
    reason, approver = row["body"].get("reason"), row["body"].get("approved_by")
    notes = [clean(reason)] if reason else []
    if approver and approver != row["body"]["who"].rpartition("@")[0]:  # beside who ran it
        notes.append(f"approved by {clean(approver)}")
    return [f"decision {row['position']}: {note}" for note in [*notes, *standing(row)]]


def standing(row: dict[str, Any]) -> list[str]:
    """What keeps a decision from counting, in words; empty for one that is done."""
    if not row["in_force"]:
        return ["void: another decision came first; nobody acts on this one"]
    if not moves(row["body"]):
        return []
    states = {
        "pending": "pending: the aliases do not follow it yet; 'recctl promote' finishes it",
        "undone": "undone: the aliases never followed it, or do no longer",
    }
    return [states[row["state"]]] if row["state"] in states else []


# --- versions and checks


def versions_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Every registered version in a row."""
    table = _table("model versions", "", "version", "right")
    for name in ["model, aliases", "digest", "registered", "from"]:
        table.add_column(name, overflow="fold")
    for row in rows:
        aliases = ", ".join(clean(one) for one in row["aliases"])
        table.add_row(
            str(row["version"]),
            Text.assemble(clean(row["model"]), (f"\n{aliases}" if aliases else "", "bold")),
            brief(row["digest"]),
            when(row["registered"]),
            Text(f"data {brief(row.get('data_md5'))}\ncommit {commit(row)}"),
        )
    return table


def version_table(row: dict[str, Any]) -> Table:
    """One version, a line per fact."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in row.items():
        lines = [clean(line) for line in _fact(value)]
        table.add_row(Text(name.replace("_", " ")), Text("\n".join(lines) or "-"))
    return table


def _fact(value: Any) -> list[str]:
    """A value as lines: a list on one, files with their digests on one each."""
    if isinstance(value, dict):
        return [f"{brief(one)}  {name}" for name, one in value.items()]
    if isinstance(value, list):
        return [", ".join(map(str, value))] if value else []
    return [] if value in (None, "") else [str(value)]


def checks_parts(rows: Sequence[dict[str, Any]]) -> list[RenderableType]:
    """What was looked at, then one line that sums it up."""
    table = _table("verify", "", "what")
    table.add_column("result")
    table.add_column("detail", overflow="fold", ratio=1)
    for row in rows:
        result = Text("ok") if row["ok"] else Text("NOT OK", "bold red")
        table.add_row(Text(clean(row["name"])), result, Text(clean(row["detail"])))
    wrong = sum(not row["ok"] for row in rows)
    summary = (
        f"{wrong} of {len(rows)} checks failed."
        if wrong
        else f"{len(rows)} checks, everything is consistent."
    )
    return [table, Text(summary, "bold red" if wrong else "bold")]


def commit(row: dict[str, Any]) -> str:
    """The commit, with a word where the tree was not clean."""
    dirty = str(row.get("dirty")).lower() == "true"
    return brief(row.get("commit")) + (" (dirty)" if dirty else "")


# --- figures and words


def clean(text: str) -> str:
    """Text from outside as one literal line.

    >>> clean("a[b]\\x1b[31m\\nc")
    'a[b]\\\\x1b[31m c'
    """
    return one_line(str(text))


def figure(value: float | None) -> str:
    """A metric's value without its leading zero; `-` for none.

    >>> figure(0.15372), figure(None)
    ('.1537', '-')
    """
    return "-" if value is None else words.figure(value)


def short(value: float | None, digits: int) -> str:
    """A number without its leading zero; `-` for none.

    >>> short(-0.057, 2), short(10.06, 1), short(None, 1)
    ('-.06', '10.1', '-')
    """
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.startswith("1") else text


def signed(value: float | None) -> str:
    """A difference with its sign and without its leading zero; `-` for none.

    >>> signed(0.0123), signed(-0.0123), signed(None)
    ('+.0123', '-.0123', '-')
    """
    return "-" if value is None else words.signed(value)


def interval(gate: dict[str, Any]) -> str:
    """`[-.0012, +.0145]`, or `-` where none was computed."""
    if gate["low"] is None or gate["high"] is None:
        return "-"
    return f"[{signed(gate['low'])}, {signed(gate['high'])}]"


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
    return Text.assemble(first, *([(f"\n{second}", "dim")] if second else []))


def _table(title: str, note: str, first: str, justify: Any = "left") -> Table:
    heading = Text.assemble((title, "bold"), (f"  {note}" if note else "", "dim"))
    table = Table(title=heading, title_justify="left", title_style="", box=SIMPLE_HEAD)
    table.show_edge = False
    table.pad_edge = False
    table.collapse_padding = True
    table.add_column(first, justify=justify, overflow="fold")
    return table


def _print(parts: Sequence[RenderableType], console: Console | None) -> None:
    console = console or Console(wide=_WIDTH)
    for i, part in enumerate(parts):
        if i:
            console.print()
        if isinstance(part, Table) and part.title:  # rich would fold it at the table's width
            console.print(part.title)
            part.title = None
        console.print(part)
