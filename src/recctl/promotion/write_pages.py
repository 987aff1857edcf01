"""Pages of a decision: beside the project's other artifacts, and with the evidence in MLflow."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from recctl.errors import UserError
from recctl.files import read_json, replacing
from recctl.layout import Layout
from recctl.promotion import history
from recctl.promotion.ledger.log import Entry
from recctl.promotion.ledger.registry import EVIDENCE, Registry
from recctl.promotion.ledger.versions import DECISION
from recctl.promotion.view import over_time, page, plots

INDEX = "index.html"
"""The page of all decisions, in the folder of their pages."""


def pages(layout: Layout, registry: Registry, entry: Entry, say: Callable[[str], None]) -> None:
    """Write HTML, markdown and plot of a decision, in the project and with its evidence.

    The decision is in the log by then: an error is reported and changes nothing.
    """
    try:
        folder = write(layout.decisions / f"{entry.position:04d}", entry)
        if entry.run_id is not None:
            registry.log_files(entry.run_id, folder, EVIDENCE)
    except (UserError, OSError) as error:
        reason = " ".join(str(error).split())
        say(
            f"decision {entry.position} is in force, but its pages could not be written: {reason}; "
            f"'recctl explain {entry.position}' shows what is in them"
        )
    overview(layout, registry, say)


def overview(layout: Layout, registry: Registry, say: Callable[[str], None]) -> None:
    """Write the page of all decisions beside their own pages; an error is reported."""
    try:
        rows = history.decisions(registry)
        monitored = _monitored(layout, registry.name)
        picture = _drawn(lambda path: over_time.plot(rows, monitored, path))
        text = over_time.html(rows, picture, monitored, registry.name)
        with replacing(layout.decisions / INDEX) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (UserError, OSError) as error:
        reason = " ".join(str(error).split())
        say(f"{layout.decisions / INDEX} could not be written: {reason}")


def _monitored(layout: Layout, model: str) -> over_time.Monitored | None:
    """What monitoring found last, where it was about this registered model."""
    path, picture = layout.monitoring / "report.json", layout.monitoring / "series.png"
    if not path.is_file() or not picture.is_file():
        return None
    found = read_json(path, "monitor", ["registered_model", "version", "metric", "sentence"])
    if found["registered_model"] != model:
        return None
    like = found.get("alike") or {}
    return over_time.Monitored(
        version=found["version"],
        time=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        sentence=found["sentence"],
        metric=found["metric"],
        value=like["value"] if like.get("events") else None,
        low=like.get("low", 0.0),
        high=like.get("high", 0.0),
        picture=picture.read_bytes(),
    )


def _drawn(draw: Callable[[Path], None]) -> bytes:
    """The picture that a function writes to a file."""
    with tempfile.TemporaryDirectory(prefix="recctl-page-") as name:
        draw(Path(name) / "picture.png")
        return (Path(name) / "picture.png").read_bytes()


def described(registry: Registry, line: Sequence[Entry], say: Callable[[str], None]) -> None:
    """Let the version that the newest judgement is about name it and its figures in MLflow.

    Done after every decision and before the next one, so a killed process leaves no gap for long.
    An error is reported and changes nothing.
    """
    judged = (
        (entry.position, entry.record)
        for entry in reversed(line)
        if entry.record is not None and entry.record.kind == "promotion" and not entry.altered
    )
    position, record = next(judged, (0, None))
    number = record.challenger.version if record and record.challenger else None
    if record is None or number is None:
        return
    try:
        for version in registry.versions():
            if version.number == number and version.tags.get(DECISION) != str(position):
                registry.describe(number, position, page.description(record, position))
    except UserError as error:
        say(
            f"decision {position} is in force, but the description of version {number} could not "
            f"be written: {error}"
        )


def write(folder: Path, entry: Entry) -> Path:
    """The pages of a decision, in their own folder."""
    record = entry.record
    assert record is not None, "a decision that was just written can be read"
    picture = _drawn(lambda path: plots.intervals(record, path))
    contents = {
        "decision.html": page.html(record, picture, entry.position).encode(),
        "decision.md": page.markdown(record, entry.position).encode(),
        "decision.json": entry.body.encode(),
        "intervals.png": picture,
    }
    for file, content in contents.items():
        with replacing(folder / file) as temporary:
            temporary.write_bytes(content)
    return folder
