"""A decision as a page that stands alone: HTML to look at and print, markdown to paste.

Both are made from the same blocks, and the tables are those of the terminal. Nothing is fetched,
no script runs, and whatever comes from outside is escaped.
"""

import base64
import json
import re
from dataclasses import dataclass
from urllib.parse import quote

from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import plots, tables, words
from recctl.promotion.view.tables import Cell, Grid
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
class Code:
    """Text to copy, line by line."""

    text: str


@dataclass(frozen=True)
class Picture:
    """The interval plot, with what it shows in words."""

    text: str


Block = Heading | Paragraph | Grid | Code | Picture


def html(record: DecisionRecord, png: bytes, position: int | None = None) -> str:
    """One self-contained page; `png` is `plots.intervals`' picture."""
    parts = [_html(block, png) for block in blocks(record, position)]
    return _PAGE.format(
        title=_escape(words.title(record, position)),
        style=_STYLE,
        verdict=_escape(words.verdict(record, position)),
        kind=record.verdict or "promoted",
        sentence=_escape(words.sentence(record)),
        content="\n".join(parts),
    )


def markdown(record: DecisionRecord, position: int | None = None, *, picture: bool = True) -> str:
    """The same content; the picture is a link to `intervals.png` beside it, or left out."""
    title, sentence = words.title(record, position), words.sentence(record)
    lead = [f"# {_inline(title)}", f"**{_inline(sentence)}**"]
    content = blocks(record, position, picture=picture)
    return "\n\n".join([*lead, *(_markdown(block) for block in content)]) + "\n"


def description(record: DecisionRecord, position: int | None = None) -> str:
    """What MLflow shows beside the challenger's version, in markdown; links work in its pages."""
    model = _inline(words.clean(record.challenger.model if record.challenger else "model"))
    data = words.brief(record.lineage.data_md5 if record.lineage else None)
    lines = [f"{model} trained on data {data}, commit {words.commit(record)}."]
    means = (record.means.full if record.means else {}).get("challenger", {})
    judged = [gate.name for gate in record.of("primary") if gate.name in means]
    if means:
        figures = ", ".join(
            f"{_inline(name)} {words.figure(means[name])}"
            for name in dict.fromkeys([*judged, *means])
        )
        lines.append(f"{figures}: {words.count(record.users)} test users, full ranking.")
    if position is not None:
        link = f"#/models/{quote(record.registered_model)}-decisions/versions/{position}"
        outcome = f"{words.when(record.time)} UTC: {words.verdict(record, position)}"
        lines.append(f"[Decision {position}]({link}), {outcome} (`recctl explain {position}`).")
    return "\n\n".join(lines)


def blocks(record: DecisionRecord, position: int | None, *, picture: bool = True) -> list[Block]:
    """All that a page says of a decision, the most important first."""
    return [
        Paragraph("\n".join(words.circumstances(record))),
        *_judgement(record, picture),
        *_policy(record),
        *_origin(record, position),
        *_repeat(record, position),
    ]


def _judgement(record: DecisionRecord, picture: bool) -> list[Block]:
    """The plot, where it is wanted, and the tables."""
    found: list[Block] = []
    if picture and plots.drawable(record):
        found += [Heading("Differences"), Picture(_in_words(record))]
    for grid in tables.grids(record):
        remarks = words.remarks(record) if grid.title == "primary metrics" else []
        if grid.rows or remarks:
            found.append(Heading(grid.title[0].upper() + grid.title[1:]))
            found += [grid] if grid.rows else []
            found += [Paragraph("\n".join(remarks))] if remarks else []
    return found


def _in_words(record: DecisionRecord) -> str:
    """The plot for people who do not see it."""
    rows = [
        f"{words.clean(gate.name)} {words.signed(gate.difference)} {words.interval(gate)}"
        for gate in plots.drawable(record)
        if gate.gate == "primary"
    ]
    return "Differences with 95% intervals" + (f": {'; '.join(rows)}" if rows else "")


def _facts(note: str, header: list[str], rows: list[list[str]]) -> Grid:
    return Grid("", note, header, set(), [[Cell(text) for text in row] for row in rows])


def _policy(record: DecisionRecord) -> list[Block]:
    """The policy as params.yaml had it, null for a gate that is off."""
    policy = record.policy
    if not policy:
        return []
    order = [*PromotionParams.model_fields, *policy]  # the log sorts its keys by name
    names = [name for name in dict.fromkeys(order) if name in policy]
    rows = [[name, json.dumps(policy[name], ensure_ascii=False)] for name in names]
    note = "the promotion section of params.yaml, as it was; null: off"
    return [Heading("Policy"), _facts(note, ["key", "value"], rows)]


def _origin(record: DecisionRecord, position: int | None) -> list[Block]:
    """Models, lineage, evidence, and the decision's place in the log."""
    names = words.sides(record)
    if record.kind == "rollback":
        names = {"challenger": "serves from now on", "champion": "served before"}
    sides = {"challenger": record.challenger, "champion": record.champion, "best": record.best}
    models = [
        [names.get(name, name), words.side(model), _text(model.digest)]
        for name, model in sides.items()
        if model is not None
    ]
    lineage = record.lineage.content() if record.lineage else {}
    facts = [[words.clean(name).replace("_", " "), _text(lineage[name])] for name in lineage]
    facts.append(["decision before this one", _text(record.previous)])
    files = record.evidence.files if record.evidence else {}
    run_id = record.evidence.run_id if record.evidence else None
    facts.append(["MLflow run of the evidence", _text(run_id)])
    facts += [[f"sha256 of {name}", _text(digest)] for name, digest in files.items()]
    if position is not None:
        facts.append(["decision's id", str(position)])
    found: list[Block] = [Heading("Lineage and evidence")]
    if models:
        found.append(_facts("", ["", "model", "digest of its content"], models))
    return [*found, _facts("", ["what", "value"], facts)]


def _repeat(record: DecisionRecord, position: int | None) -> list[Block]:
    """Commands that restore the code and the data and judge again."""
    lineage = record.lineage
    commit = str(lineage.commit) if lineage else ""
    judged = record.kind in ("promotion", "comparison")
    if lineage is None or not judged or not re.fullmatch(r"[0-9a-f]{7,64}", commit):
        return []
    text = "Restore the code and the data of that time and judge again."
    if position is not None:
        text = f"'recctl explain {position}' takes it again from its evidence. {text}"
    if str(lineage.dirty).lower() == "true":
        text += " The work tree held uncommitted changes: the commit alone is not all of it."
    text += (
        " The aliases may have moved since: the champion of that time is the version named above,"
        " and the evidence holds every user's ranks as they were."
    )
    explain = [f"recctl explain {position}"] if position is not None else []
    lines = [*explain, f"git checkout {commit}", "dvc checkout", "dvc repro", _command(record)]
    return [Heading("How to repeat it"), Paragraph(text), Code("\n".join(lines))]


def _command(record: DecisionRecord) -> str:
    """The command that judges the same models again."""
    if record.kind == "promotion":
        return "recctl promote --dry-run"
    names = [name.removeprefix("version ") for name in words.sides(record).values()]
    return f"recctl compare {' '.join(names)}"


def _text(value: str | None) -> str:
    return words.clean(value) if value else "-"


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
        case Grid():
            return _html_table(block)


def _html_table(grid: Grid) -> str:
    caption = f"<caption>{_escape(grid.note)}</caption>" if grid.note else ""
    sides = [
        ' class="figure"' if place in grid.figures else "" for place in range(len(grid.header))
    ]
    head = "".join(
        f"<th{side}>{_lines(name)}</th>" for name, side in zip(grid.header, sides, strict=True)
    )
    rows = [
        "".join(f"<td{side}>{_html_cell(cell)}</td>" for cell, side in zip(row, sides, strict=True))
        for row in grid.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    kind = "" if grid.figures else ' class="prose"'
    inner = f"{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table{kind}>{inner}</table></div>'


def _html_cell(cell: Cell) -> str:
    outcome = _OUTCOMES.get(cell.text)
    text = _escape(cell.text)
    shown = f'<span class="{outcome}">{text}</span>' if outcome else text
    return f"{shown}<small>{_lines(cell.more)}</small>" if cell.more else shown


_OUTCOMES = {word: outcome for outcome, word in words.OUTCOMES.items()}


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
        case Grid():
            return _markdown_table(block)


def _markdown_table(grid: Grid) -> str:
    rule = ["---:" if place in grid.figures else "---" for place in range(len(grid.header))]
    rows = [[_cell(f"{cell.text}\n{cell.more}".rstrip("\n")) for cell in row] for row in grid.rows]
    lines = [[_cell(name) for name in grid.header], rule, *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_inline(grid.note)}\n\n{table}" if grid.note else table


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
