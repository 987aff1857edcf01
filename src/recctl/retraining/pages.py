"""What people see of a retraining beside its lines: pages of markdown and tables, and a plot."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from recctl.evaluation.params import FULL
from recctl.files import read_json
from recctl.intake.intake import Intake
from recctl.layout import Layout
from recctl.promotion.judge.record import DecisionRecord
from recctl.promotion.view import page

Row = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """Something to look at: a table, or markdown."""

    key: str
    """Lower case and dashes; pages of one key are a history of one thing."""
    title: str
    markdown: str = ""
    table: list[Row] = field(default_factory=list)


def intake(taken: Intake) -> Page:
    """What was taken in, file by file."""
    rows: list[Row] = [
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
    return Page("intake", title, table=rows or [{"source": "all", "new events": 0}])


def validated(layout: Layout) -> bool:
    """Whether validate got as far as a report; DVC takes a former one away before it runs."""
    return (layout.validation / "report.json").is_file()


def validation(layout: Layout) -> Page:
    """Every expectation and what came of it, failures first."""
    rules = read_json(layout.validation / "report.json", "validate", ["rules"])["rules"]
    order = {"failed": 0, "not checked": 1, "passed": 2}
    rows = [
        {
            "expectation": rule["rule"],
            "verdict": rule["verdict"],
            "severity": rule["severity"],
            "observed": rule["observed"],
            "limit": rule["limit"],
            "unit": rule["unit"],
        }
        for rule in sorted(rules, key=lambda rule: order[rule["verdict"]])
    ]
    failed = [row["expectation"] for row in rows if row["verdict"] == "failed"]
    title = f"Failed: {', '.join(failed)}" if failed else f"{len(rows)} expectations, none failed"
    return Page("validation", title, table=rows)


def drifted(layout: Layout) -> list[str]:
    """The expectations about drift that the newest data did not meet."""
    rules = read_json(layout.validation / "report.json", "validate", ["rules"])["rules"]
    return [
        rule["rule"]
        for rule in rules
        if rule["verdict"] == "failed" and rule["rule"].endswith(("-drift", "-break"))
    ]


def metrics(layout: Layout) -> Page:
    """The evaluation in full ranking, a row per model."""
    content = read_json(layout.evaluation / "metrics.json", "evaluate", [FULL])
    rows = [
        {"model": name, **{metric: round(value, 4) for metric, value in values.items()}}
        for name, values in content[FULL].items()
    ]
    return Page("metrics", f"Full ranking, {content.get('users', 0):,} users", table=rows)


def decision(record: DecisionRecord, position: int | None) -> Page:
    """A decision with its gates."""
    text = page.markdown(record, position, picture=False)
    return Page("decision", record.sentence[:200], markdown=text)


_EPOCH = re.compile(r"^train: epoch (\d+)/(\d+)\b")
_HINT = re.compile(
    r"\s*$|To track the changes|To enable auto staging|\s+git add |\s+dvc config |Use `dvc"
    r"|(Stage )?'.*' didn't change, skipping"
)
"""Empty lines, stages that others depend on, and what DVC tells people to do next."""


@dataclass
class Lines:
    """Hands on a stage's lines, of a training's progress no more than people will read."""

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
