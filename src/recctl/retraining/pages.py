"""The pages of a retraining for people (markdown or a table), and the lines of its stages."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recctl.evaluation.params import FULL
from recctl.files import read_json
from recctl.intake.intake import Intake
from recctl.layout import Layout
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import page
from recctl.render.grid import Grid


@dataclass(frozen=True)
class Page:
    """A page for people."""

    key: str
    """Lower case and dashes; pages of one key are a history of one thing."""
    title: str
    content: str | Grid
    """Markdown or a table."""


def intake(taken: Intake) -> Page:
    """What was taken in, file by file."""
    rows: list[dict[str, Any]] = [
        {
            "source": batch.source,
            "name": batch.name,
            "rows": batch.rows,
            "new events": batch.new,
            "duplicates": batch.duplicates,
            "late": batch.late,
            "out of order": batch.out_of_order,
            "bad rows": sum(batch.bad.values()),
            "from": batch.first_time,
            "to": batch.last_time,
        }
        for batch in taken.batches
    ]
    rows += [{"source": "refused", "name": name, "rows": reason} for name, reason in taken.refused]
    title = f"{taken.new:,} new events" if rows else "No new events"
    return Page("intake", title, Grid.of(rows or [{"source": "all", "new events": 0}]))


def validation(layout: Layout) -> Page:
    """Every expectation with its verdict, failures first."""
    rules, names = _rules(layout), ("verdict", "severity", "observed", "limit", "unit")
    order = {"failed": 0, "not checked": 1, "passed": 2}
    rows = [
        {"expectation": rule["rule"], **{name: rule[name] for name in names}}
        for rule in sorted(rules, key=lambda rule: order[rule["verdict"]])
    ]
    failed = [rule["rule"] for rule in rules if rule["verdict"] == "failed"]
    title = f"Failed: {', '.join(failed)}" if failed else f"{len(rows)} expectations, none failed"
    return Page("validation", title, Grid.of(rows))


def drifted(layout: Layout) -> list[str]:
    """The expectations about drift that the newest data did not meet."""
    names = [rule["rule"] for rule in _failed(layout)]
    return [name for name in names if name.endswith(("-drift", "-break"))]


def failures(layout: Layout) -> list[str]:
    """A line for each expectation that the newest data did not meet: its value and its limit."""
    return [f"{r['rule']}: {r['observed']} {r['unit']} ({r['limit']})" for r in _failed(layout)]


def _rules(layout: Layout) -> list[dict[str, Any]]:
    return list(read_json(layout.validation / "report.json", "validate", ["rules"])["rules"])


def _failed(layout: Layout) -> list[dict[str, Any]]:
    return [rule for rule in _rules(layout) if rule["verdict"] == "failed"]


def metrics(layout: Layout) -> Page:
    """The evaluation in full ranking, a row per model."""
    content = read_json(layout.evaluation / "metrics.json", "evaluate", [FULL])
    rows = [
        {"model": name, **{metric: round(value, 4) for metric, value in values.items()}}
        for name, values in content[FULL].items()
    ]
    return Page("metrics", f"Full ranking, {content.get('users', 0):,} users", Grid.of(rows))


def decision(record: DecisionRecord, position: int | None) -> Page:
    """A decision with its gates."""
    return Page("decision", record.sentence[:200], page.markdown(record, position, picture=False))


_EPOCH = re.compile(r"^train: epoch (\d+)/(\d+)\b")
_HINT = re.compile(
    r"\s*$|To track the changes|To enable auto staging|\s+git add |\s+dvc config |Use `dvc"
    r"|(Stage )?'.*' didn't change, skipping"
)
"""Lines left out: empty ones, unchanged stages, and DVC's hints on what to do next."""


@dataclass
class Lines:
    """Passes on a stage's lines, those of a training's progress only every so often."""

    say: Callable[[str], None]
    epoch: Callable[[int, int], None] = lambda done, total: None
    every: float = 15.0
    """Seconds between two lines of progress."""
    _last: float = -1e9

    def __call__(self, line: str) -> None:
        found = _EPOCH.match(line)
        if found:
            now = time.monotonic()
            done, total = int(found[1]), int(found[2])
            if now - self._last < self.every and done < total:
                return
            self._last = now
            self.epoch(done, total)
        if not _HINT.match(line):
            self.say(line)
