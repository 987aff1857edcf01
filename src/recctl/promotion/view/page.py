"""A decision as a page: HTML to look at and print, markdown to paste; tables as on the terminal."""

import base64
import json
import re
from urllib.parse import quote

from recctl.promotion.judge.policy import PromotionParams
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import plots, tables, words
from recctl.render import page
from recctl.render.grid import Cell, Grid, left
from recctl.render.numbers import count, figure, signed
from recctl.render.page import Block
from recctl.render.text import markdown as _inline
from recctl.render.text import one_line


def html(record: DecisionRecord, png: bytes, position: int | None = None) -> str:
    """One self-contained page; `png` is `plots.intervals`' picture."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    verdict = words.verdict(record, position)
    return page.html(
        words.title(record, position),
        _blocks(record, position, source),
        verdict=(record.verdict or "promoted", verdict, words.sentence(record)),
    )


def markdown(record: DecisionRecord, position: int | None = None, *, picture: bool = True) -> str:
    """The same content; the picture is a link to `intervals.png` beside it, or left out."""
    title = page.heading(words.title(record, position), 1)
    sentence = page.paragraph(words.sentence(record), strong=True)
    blocks = _blocks(record, position, "intervals.png" if picture else None)
    return page.markdown([title, sentence, *blocks])


def description(record: DecisionRecord, position: int | None = None) -> str:
    """What MLflow shows beside the challenger's version, in markdown; links work in its pages."""
    model = _inline(one_line(record.challenger.model if record.challenger else "model"))
    data = words.brief(record.lineage.data_md5 if record.lineage else None)
    lines = [f"{model} trained on data {data}, commit {words.commit(record)}."]
    means = (record.means.full if record.means else {}).get("challenger", {})
    judged = [gate.name for gate in record.of("primary") if gate.name in means]
    if means:
        listed = ", ".join(
            f"{_inline(name)} {figure(means[name])}" for name in dict.fromkeys([*judged, *means])
        )
        lines.append(f"{listed}: {count(record.users)} test users, full ranking.")
    if position is not None:
        link = f"#/models/{quote(record.registered_model)}-decisions/versions/{position}"
        outcome = f"{words.when(record.time)} UTC: {words.verdict(record, position)}"
        lines.append(f"[Decision {position}]({link}), {outcome} (`recctl explain {position}`).")
    return "\n\n".join(lines)


def _blocks(record: DecisionRecord, position: int | None, picture: str | None) -> list[Block]:
    """All that a page says of a decision, the most important first; `picture` is its source."""
    return [
        page.paragraph("\n".join(words.circumstances(record))),
        *_judgement(record, picture),
        *_policy(record),
        *_origin(record, position),
        *_repeat(record, position),
    ]


def _judgement(record: DecisionRecord, picture: str | None) -> list[Block]:
    """The plot, where it is wanted, and the tables."""
    found: list[Block] = []
    if picture and plots.drawable(record):
        found += [page.heading("Differences"), page.picture(_in_words(record), picture)]
    for grid in tables.grids(record):
        remarks = words.remarks(record) if grid.title == "primary metrics" else []
        if grid.rows or remarks:
            found.append(page.heading(grid.title[0].upper() + grid.title[1:]))
            found += [grid] if grid.rows else []
            found += [page.paragraph("\n".join(remarks))] if remarks else []
    return found


def _in_words(record: DecisionRecord) -> str:
    """The plot for people who do not see it."""
    rows = [
        f"{one_line(gate.name)} {signed(gate.difference)} {words.interval(gate)}"
        for gate in plots.drawable(record)
        if gate.gate == "primary"
    ]
    return "Differences with 95% intervals" + (f": {'; '.join(rows)}" if rows else "")


def _facts(note: str, header: list[str], rows: list[list[str]]) -> Grid:
    return Grid("", left(*header), note, [[Cell(text) for text in row] for row in rows])


def _policy(record: DecisionRecord) -> list[Block]:
    """The policy as params.yaml had it, null for a gate that is off."""
    policy = record.policy
    if not policy:
        return []
    order = [*PromotionParams.model_fields, *policy]  # the log sorts its keys by name
    names = [name for name in dict.fromkeys(order) if name in policy]
    rows = [[name, json.dumps(policy[name], ensure_ascii=False)] for name in names]
    note = "the promotion section of params.yaml, as it was; null: off"
    return [page.heading("Policy"), _facts(note, ["key", "value"], rows)]


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
    facts = [[one_line(name).replace("_", " "), _text(lineage[name])] for name in lineage]
    facts.append(["decision before this one", _text(record.previous)])
    files = record.evidence.files if record.evidence else {}
    run_id = record.evidence.run_id if record.evidence else None
    facts.append(["MLflow run of the evidence", _text(run_id)])
    facts += [[f"sha256 of {name}", _text(digest)] for name, digest in files.items()]
    if position is not None:
        facts.append(["decision's id", str(position)])
    found: list[Block] = [page.heading("Lineage and evidence")]
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
    return [page.heading("How to repeat it"), page.paragraph(text), page.code("\n".join(lines))]


def _command(record: DecisionRecord) -> str:
    """The command that judges the same models again."""
    if record.kind == "promotion":
        return "recctl promote --dry-run"
    names = [name.removeprefix("version ") for name in words.sides(record).values()]
    return f"recctl compare {' '.join(names)}"


def _text(value: str | None) -> str:
    return one_line(value) if value else "-"
