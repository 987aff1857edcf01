"""The pipeline: its stages brought up to date by DVC, one or all of them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recctl import dvc
from recctl.config import yaml_value
from recctl.errors import MayPass, UserError
from recctl.layout import Layout
from recctl.lock import Lock
from recctl.render.text import Say

Outcome = Literal["ran", "cached", "unchanged"]
"""Its command ran; its outputs came from DVC's cache or remote; they were up to date."""


@dataclass(frozen=True)
class StageRun:
    """How one stage was brought up to date."""

    name: str
    outcome: Outcome
    seconds: float

    @property
    def ran(self) -> bool:
        """Whether the stage's command ran."""
        return self.outcome == "ran"


class _OfStage(Exception):
    """An error with the stage that failed, None where DVC itself did, and the reason."""

    def __init__(self, what: str, stage: str | None, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.stage = stage
        self.reason = reason


class StageFailed(_OfStage, UserError):
    """A stage, or DVC itself, ended with an error."""


class StageMayPass(_OfStage, MayPass):
    """The same, for a cause that may pass: worth running again."""


def stage(layout: Layout, name: str, on_line: Say, *, lock: Lock | None = None) -> StageRun:
    """Bring one stage, and what it depends on, up to date; passes on each line that is printed.

    With the project's `lock` the stage is part of the retraining that holds it, which lasts until
    everything started here has ended. Raises StageFailed, or StageMayPass where DVC is busy, its
    remote does not answer or the stage said so.
    """
    began = time.monotonic()
    if lock is not None:
        lock.doing(name)
    code, lines = _repro(layout, name, on_line, lock)
    if code != 0:
        reason = dvc.reason(code, lines)
        kind = StageMayPass if reason.may_pass else StageFailed
        raise kind(f"stage '{name}' failed", reason.stage or name, reason.text)
    return StageRun(name, _outcome(name, lines), time.monotonic() - began)


def refill(layout: Layout, on_line: Say, *, lock: Lock | None = None) -> None:
    """Add outputs that DVC's cache lacks to it again, where they are here as dvc.lock names them.

    Otherwise DVC would run their stages again. Outputs that dvc.lock does not name are left alone.
    """
    cache = dvc.cache(layout)
    for name, stage in _locked(layout).items():
        outs = stage["outs"]
        here = all((layout.root / out).exists() for out in outs)
        if here and not all(dvc.is_whole(cache, md5) for md5 in outs.values()):
            # without --force DVC takes nothing that differs from dvc.lock
            code, _ = dvc.run(layout, ["commit", "--quiet", name], lock=lock)
            if code == 0:
                on_line(f"{name}: DVC's cache lacked its outputs; they were added again")


def restore(layout: Layout, output: Path, on_line: Say, *, lock: Lock | None = None) -> None:
    """Bring an output that dvc.lock names from DVC's cache or remote, where the project lacks it.

    `dvc repro --pull` does so only for stages that need not run. Where DVC gives no copy, that is
    reported; raises MayPass where DVC is busy.
    """
    name = output.relative_to(layout.root).as_posix()
    if output.exists() or not any(name in stage["outs"] for stage in _locked(layout).values()):
        return
    verb = "pull" if dvc.remote(layout) else "checkout"
    code, lines = dvc.run(layout, [verb, name], lock=lock)
    reason = dvc.reason(code, lines)
    if code != 0 and reason.may_pass:
        raise MayPass(f"'dvc {verb} {name}' failed: {reason.text}")
    done = "restored" if code == 0 else f"'dvc {verb}' gave no copy of it"
    on_line(f"{name} is missing: {done}")


def _locked(layout: Layout) -> dict[str, dict[str, dict[str, str]]]:
    path = layout.root / "dvc.lock"
    return recorded(path.read_text(encoding="utf-8") if path.is_file() else None)


def recorded(lock: str | None) -> dict[str, dict[str, dict[str, str]]]:
    """What the text of a dvc.lock records: by stage and `deps` or `outs`, the md5 of each path."""
    document = yaml_value(lock, "dvc.lock") if lock else None
    stages = document.get("stages") if isinstance(document, dict) else None
    return {
        str(stage): {
            kind: {
                str(one.get("path")): str(one["md5"])
                for one in entry.get(kind) or []
                if isinstance(one, dict) and "md5" in one
            }
            for kind in ("deps", "outs")
        }
        for stage, entry in (stages if isinstance(stages, dict) else {}).items()
        if isinstance(entry, dict)
    }


def _repro(layout: Layout, name: str, on_line: Say, lock: Lock | None) -> tuple[int, list[str]]:
    """`dvc repro`, again where it refused to replace outputs of which it holds no copy.

    DVC would ask a person then; here these outputs are moved aside. Without a remote `--pull` is
    left out, for DVC would fail where it could run a stage.
    """
    pull = ["--pull"] if dvc.remote(layout) else []
    while True:
        code, lines = dvc.run(layout, ["repro", *pull, name], on_line, lock=lock)
        unsaved = _unsaved(layout, lines) if code else []
        if not unsaved:
            return code, lines
        aside = layout.state / "aside" / time.strftime("%Y%m%d-%H%M%S")
        for path in unsaved:
            target = aside / path.relative_to(layout.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        place = aside.relative_to(layout.root)
        on_line(f"{len(unsaved)} outputs of which DVC holds no copy were moved to {place}")


def _unsaved(layout: Layout, lines: list[str]) -> list[Path]:
    """The outputs in artifacts/ that DVC does not replace; none where others are among them."""
    marks = [place for place, line in enumerate(lines) if "following unsaved files" in line]
    named = [Path(line) for line in lines[marks[-1] + 1 :] if line.startswith("/")] if marks else []
    artifacts = layout.root / "artifacts"
    ours = all(path.is_relative_to(artifacts) for path in named)
    return [path for path in named if os.path.lexists(path)] if ours else []


def _outcome(name: str, lines: list[str]) -> Outcome:
    if f"Running stage '{name}':" in lines:
        return "ran"
    brought = (f"Stage '{name}' is cached", f"Pulling data for stage: '{name}'")
    return "cached" if any(line.startswith(brought) for line in lines) else "unchanged"
