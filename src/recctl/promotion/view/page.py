"""A decision as a page that stands alone: HTML to look at and print, markdown to paste.

Both are made from the same blocks, and the tables are those of the terminal. Nothing is fetched,
no script runs, and whatever comes from outside is escaped.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.view import plots, tables
from recctl.render.console import Table, Text
from recctl.render.text import html as _escape
from recctl.render.text import markdown as _inline

_PICTURE = "intervals.png"
"""The plot's file beside the markdown page."""


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True)
class Grid:
    """A table; `note` says how to read it. Cells may have several lines."""

    note: str
    header: list[str]
    rows: list[list[str]]
    right: list[bool]
    """Which columns are figures."""


@dataclass(frozen=True)
class Code:
    """Text to copy, line by line."""

    text: str


@dataclass(frozen=True)
class Picture:
    """The interval plot, with what it shows in words."""

    text: str


Block = Heading | Paragraph | Grid | Code | Picture


def html(body: dict[str, Any], png: bytes, position: int | None = None) -> str:
    """One self-contained page; `png` is `plots.intervals`' picture."""
    title = tables.title(body, position)
    parts = [_html(block, png) for block in blocks(body, position)]
    return _PAGE.format(
        title=_escape(title),
        style=_STYLE,
        verdict=_escape(tables.verdict(body, position)),
        kind=_escape(str(body.get("verdict") or "promoted")),
        sentence=_escape(tables.said(body)),
        content="\n".join(parts),
    )


def markdown(body: dict[str, Any], position: int | None = None, *, picture: bool = True) -> str:
    """The same content; the picture is a link to `intervals.png` beside it, or left out."""
    lead = [f"# {_inline(tables.title(body, position))}", f"**{_inline(tables.said(body))}**"]
    content = blocks(body, position, picture=picture)
    return "\n\n".join([*lead, *(_markdown(block) for block in content)]) + "\n"


def description(body: dict[str, Any], position: int | None = None) -> str:
    """What MLflow shows beside the challenger's version, in markdown; links work in its pages."""
    lineage, metrics = body.get("lineage") or {}, _figures(body)
    model = _inline(tables.clean((body.get("challenger") or {}).get("model") or "model"))
    text = f"{model} trained on data {tables.brief(lineage.get('data_md5'))}"
    lines = [f"{text}, commit {tables.commit(lineage)}."]
    if metrics:
        said = ", ".join(
            f"{_inline(name)} {tables.figure(value)}" for name, value in metrics.items()
        )
        lines.append(f"{said}: {tables.count(body.get('users'))} test users, full ranking.")
    if position is not None:
        link = f"#/models/{quote(body['registered_model'])}-decisions/versions/{position}"
        came = f"{tables.when(body['time'])} UTC: {tables.verdict(body, position)}"
        lines.append(f"[Decision {position}]({link}), {came} (`recctl explain {position}`).")
    return "\n\n".join(lines)


def _figures(body: dict[str, Any]) -> dict[str, float | None]:
    """The challenger's means over today's whole catalogue, in the policy's order."""
    found = ((body.get("means") or {}).get("full") or {}).get("challenger") or {}
    order = dict.fromkeys([*tables.metrics_of(body), *found])
    return {name: found[name] for name in order if name in found}


def blocks(body: dict[str, Any], position: int | None, *, picture: bool = True) -> list[Block]:
    """All there is to say of a decision, in the order in which it is asked."""
    return [
        Paragraph("\n".join(tables.circumstances(body))),
        *_judgement(body, picture),
        *_policy(body),
        *_origin(body, position),
        *_repeat(body, position),
    ]


def _judgement(body: dict[str, Any], picture: bool) -> list[Block]:
    """The plot, where it is wanted, and the tables."""
    found: list[Block] = []
    if picture and plots.drawable(body):
        found += [Heading("Differences"), Picture(_in_words(body))]
    first, *rest = [
        (name, _grid(table))
        for name, table in [
            ("Primary metrics", tables.primary(body)),
            ("Gates", tables.other_gates(body)),
            ("Slices", tables.slices(body)),
            ("All models on today's test set", tables.catalogues(body)),
        ]
    ]
    remarks = "\n".join(tables.remarks(body))
    for (name, grid), more in [(first, remarks), *((one, "") for one in rest)]:
        if grid.rows or more:
            found += [Heading(name), *([grid] if grid.rows else [])]
            found += [Paragraph(more)] if more else []
    return found


def _in_words(body: dict[str, Any]) -> str:
    """The plot for those who do not see it."""
    rows = [
        f"{tables.clean(gate['name'])} {tables.signed(gate['difference'])} {tables.interval(gate)}"
        for gate in plots.drawable(body)
        if gate["gate"] == "primary"
    ]
    return "Differences with 95% intervals" + (f": {'; '.join(rows)}" if rows else "")


def _policy(body: dict[str, Any]) -> list[Block]:
    """The policy as the params file would have it, null for a gate that is off."""
    policy = body.get("policy")
    if not policy:
        return []
    order = [*PromotionParams.model_fields, *policy]  # the log sorts its keys by name
    names = [name for name in dict.fromkeys(order) if name in policy]
    rows = [[name, json.dumps(policy[name], ensure_ascii=False)] for name in names]
    note = "the promotion section of params.yaml, as it was; null: off"
    return [Heading("Policy"), Grid(note, ["key", "value"], rows, [False, False])]


def _origin(body: dict[str, Any], position: int | None) -> list[Block]:
    """Models, lineage, evidence, and the decision's place in the log."""
    rows = [
        [name, tables.side(body, side), _text(body[side].get("digest"))]
        for side, name in _roles(body).items()
        if body.get(side)
    ]
    facts = [[_words(name), _text(value)] for name, value in (body.get("lineage") or {}).items()]
    facts.append(["decision before this one", _text(body.get("previous"))])
    evidence = body.get("evidence") or {}
    facts.append(["MLflow run of the evidence", _text(evidence.get("run_id"))])
    facts += [[f"sha256 of {name}", _text(one)] for name, one in evidence.get("files", {}).items()]
    if position is not None:
        facts.append(["decision's id", str(position)])
    left = [False, False, False]
    models = Grid("", ["", "model", "digest of its content"], rows, left)
    origin = Grid("", ["what", "value"], facts, left[:2])
    return [Heading("Lineage and evidence"), *([models] if rows else []), origin]


def _roles(body: dict[str, Any]) -> dict[str, str]:
    """What each model is called; nobody challenges anybody in a rollback."""
    names = tables.sides(body)
    if body["kind"] == "rollback":
        names = {"challenger": "serves from now on", "champion": "served before"}
    return {**names, "best": "best"}


def _repeat(body: dict[str, Any], position: int | None) -> list[Block]:
    """Commands that bring the code and the data back and judge again."""
    lineage = body.get("lineage") or {}
    commit = str(lineage.get("commit") or "")
    judged = body["kind"] in ("promotion", "comparison")
    if not judged or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        return []
    text = "Bring back the code and the data of then and judge again."
    if position is not None:
        text = f"'recctl explain {position}' takes it again from its evidence. {text}"
    if str(lineage.get("dirty")).lower() == "true":
        text += " The work tree held uncommitted changes: the commit alone is not all of it."
    text += (
        " The aliases may have moved since: the champion of then is the version named above, and"
        " the evidence holds every user's ranks as they were."
    )
    explain = [f"recctl explain {position}"] if position is not None else []
    lines = [*explain, f"git checkout {commit}", "dvc checkout", "dvc repro", _command(body)]
    return [Heading("How to repeat it"), Paragraph(text), Code("\n".join(lines))]


def _command(body: dict[str, Any]) -> str:
    """What judges the same models again."""
    if body["kind"] == "promotion":
        return "recctl promote --dry-run"
    names = [name.removeprefix("version ") for name in tables.sides(body).values()]
    return f"recctl compare {' '.join(names)}"


def _grid(table: Table) -> Grid:
    """A terminal's table as text; its note is the dim end of its title."""
    assert isinstance(table.title, Text)
    note = table.title.plain[table.title.spans[0].end :].strip()
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    rows = [list(cells) for cells in zip(*columns, strict=True)]
    right = [column.justify == "right" for column in table.columns]
    return Grid(note, [str(column.header) for column in table.columns], rows, right)


def _words(name: str) -> str:
    return tables.clean(name).replace("_", " ")


def _text(value: Any) -> str:
    return "-" if value in (None, "") else tables.clean(str(value))


# --- HTML


def _html(block: Block, png: bytes) -> str:
    match block:
        case Heading(text):
            return f"<h2>{_escape(text)}</h2>"
        case Paragraph(text):
            return f"<p>{_lines(text)}</p>"
        case Code(text):
            return f"<pre>{_escape(text)}</pre>"
        case Picture(text):
            data = base64.b64encode(png).decode()
            return f'<img alt="{_escape(text)}" src="data:image/png;base64,{data}">'
        case Grid(note, header, rows, right):
            return _html_table(note, header, rows, right)


def _html_table(
    note: str, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> str:
    caption = f"<caption>{_escape(note)}</caption>" if note else ""
    head = "".join(
        f"<th{_side(figures)}>{_lines(name)}</th>"
        for name, figures in zip(header, right, strict=True)
    )
    lines = [
        "<tr>" + "".join(_html_cell(*cell) for cell in zip(row, right, strict=True)) + "</tr>"
        for row in rows
    ]
    kind = "" if any(right) else ' class="prose"'
    inner = f"{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody>"
    return f'<div class="wide"><table{kind}>{inner}</table></div>'


def _html_cell(text: str, figures: bool) -> str:
    first, _, more = text.partition("\n")
    outcome = _OUTCOMES.get(first)
    shown = f'<span class="{outcome}">{_escape(first)}</span>' if outcome else _escape(first)
    small = f"<small>{_lines(more)}</small>" if more else ""
    return f"<td{_side(figures)}>{shown}{small}</td>"


_OUTCOMES = {word: outcome for outcome, word in tables.WORDS.items()}


def _side(figures: bool) -> str:
    return ' class="figure"' if figures else ""


def _lines(text: str) -> str:
    return "<br>".join(_escape(line) for line in text.split("\n"))


# --- markdown


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_inline(text)}"
        case Paragraph(text):
            return "  \n".join(_inline(line) for line in text.split("\n"))
        case Code(text):
            return f"```sh\n{text}\n```"
        case Picture(text):
            return f"![{_inline(text)}]({_PICTURE})"
        case Grid(note, header, rows, right):
            return _markdown_table(note, header, rows, right)


def _markdown_table(
    note: str, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> str:
    rule = ["---:" if figures else "---" for figures in right]
    lines = [[_cell(name) for name in header], rule, *([_cell(one) for one in row] for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_inline(note)}\n\n{table}" if note else table


def _cell(text: str) -> str:
    return "<br>".join(_inline(line) for line in text.split("\n"))


_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --back: #fff; --dim: #5c5c5c; --line: #d9d9d9;
  --good: #00527f; --bad: #a33b00; --code: #f4f4f4; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --back: #161616; --dim: #a8a8a8;
  --line: #3a3a3a; --good: #7cc4f0; --bad: #ff9d66; --code: #222; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem; color: var(--text);
  background: var(--back); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { border-left: .4rem solid var(--bad); padding: .5rem 1rem; background: var(--code);
  margin: 0 0 1rem; }
.verdict.promoted { border-color: var(--good); }
.verdict strong { display: block; letter-spacing: .03em; }
.wide { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; color: var(--dim); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .9rem .3rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
th { font-weight: 600; border-bottom: 2px solid var(--dim); }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { display: block; color: var(--dim); }
.pass { color: var(--good); }
.fail, .suspicious, .refused { color: var(--bad); font-weight: 700; }
.shown { color: var(--dim); }
pre { background: var(--code); padding: .75rem 1rem; overflow-x: auto; }
img { display: block; width: 100%; max-width: 50rem; height: auto; background: #fff; }
@media screen and (max-width: 40rem) { body { padding: 1rem .75rem 2rem; }
  .prose, .prose tbody, .prose tr, .prose td, .prose caption { display: block; }
  .prose thead { display: none; } .prose tr { border-bottom: 1px solid var(--line);
  padding: .4rem 0; } .prose td { border: 0; padding: 0; }
  .prose td:first-child { color: var(--dim); } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .wide { overflow: visible; }
  tr, img, pre { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<div class="verdict {kind}"><strong>{verdict}</strong>{sentence}</div>
{content}
</body>
</html>
"""
