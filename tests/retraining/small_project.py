"""A project that is retrained in seconds: DVC's data, git and the registry are real ones.

The stages run here instead of below DVC (which would take half a minute), so `pipeline.stage` is
replaced; what they write is what recctl's own code writes.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import tiny_project as tiny
from ruamel.yaml import YAML

import databases
from recctl import lock, pipeline
from recctl.data import versions
from recctl.files import write_json
from recctl.layout import Layout
from recctl.retraining.run import Hooks, Result
from recctl.retraining.run import retrain as carry_out
from recctl.stages import ingest, sequence_split

DAYS = 10
"""Days of the log that a project begins with."""
COLUMNS = ["user", "item", "time"]


def make(root: Path, **sections: dict[str, Any]) -> Layout:
    """A project in git and DVC, with data and no model; `sections` go into params.yaml.

    DVC takes seconds, so the first process of a run makes one that the others copy.
    """
    text = json.dumps(sections, sort_keys=True).encode()
    name = f"small-{hashlib.sha256(text).hexdigest()[:8]}"
    if databases.SHARED in os.environ:
        made = databases.once(name, lambda path: _make(path, **sections))
        shutil.copytree(made, root, symlinks=True)
    else:
        _make(root, **sections)
    return Layout(root)


def _make(root: Path, **sections: dict[str, Any]) -> None:
    root.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n"
    )
    (root / ".gitignore").write_text(
        "/data\n/artifacts/\n/.recctl/\n/mlflow.db*\n/mlartifacts/\n/incoming/\n"
    )
    (root / "dvc.yaml").write_text("stages: {}\n")
    described = {"user_column": "user", "item_column": "item", "time_column": "time"}
    tiny.set_params(
        root,
        ingest={
            "name": "tiny", "files": ["log.csv"], "format": "csv", "time_unit": "us", **described
        },
        promotion=tiny.POLICY,
        intake={"sources": [{"kind": "folder", "path": "incoming"}]},
        **sections,
    )  # fmt: skip
    databases.mlflow(root)
    layout = Layout(root)
    layout.data.mkdir()
    write_days(layout.data / "log.csv", 0, DAYS)
    versions.add(layout)
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")


def git(root: Path, *arguments: str) -> str:
    """What git prints."""
    names = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    done = subprocess.run(
        ["git", *names, *arguments], cwd=root, check=True, capture_output=True, text=True
    )
    return done.stdout


def commits(layout: Layout) -> list[str]:
    """The subjects of all commits, newest first."""
    return git(layout.root, "log", "--format=%s").splitlines()


def days(first: int, last: int) -> pd.DataFrame:
    """The log's days from `first` up to and without `last`, in the columns of the project."""
    frame = tiny.log(last).iloc[first * tiny.USERS :]
    return frame.set_axis(COLUMNS, axis="columns")


def write_days(path: Path, first: int, last: int) -> None:
    days(first, last).to_csv(path, index=False)


def drop(layout: Layout, first: int, last: int, name: str | None = None) -> Path:
    """Lay days into the drop folder, as whoever brings them should: written, then renamed."""
    folder = layout.root / "incoming"
    folder.mkdir(exist_ok=True)
    path = folder / (name or f"days-{first}-{last}.csv")
    part = path.with_name(path.name + ".part")
    write_days(part, first, last)
    old = part.stat().st_mtime - 60
    os.utime(part, (old, old))  # nobody writes to it any more
    part.rename(path)
    return path


def settings(layout: Layout, **sections: dict[str, Any]) -> None:
    """Change sections of params.yaml."""
    yaml = YAML(typ="safe")
    document = yaml.load(layout.params)
    with layout.params.open("w") as file:
        yaml.dump({**document, **sections}, file)


def stage(
    layout: Layout, name: str, on_line: Callable[[str], None], *, lock: object = None
) -> pipeline.StageRun:
    """In place of `pipeline.stage`: what the stage writes, made here."""
    STAGES[name](layout)
    on_line(f"{name}: done")
    return pipeline.StageRun(name, "ran", 0.0)


def validate(layout: Layout) -> None:
    """Passes, unless the project holds a file `bad-data`."""
    failed = (layout.root / "bad-data").exists()
    rule = {
        "rule": "volume-break", "verdict": "failed" if failed else "passed",
        "severity": "critical", "observed": 99.0, "limit": "at most 10", "unit": "",
    }  # fmt: skip
    write_json(layout.validation / "report.json", {"rules": [rule]})
    if failed:
        raise pipeline.StageFailed("stage 'validate' failed", "validate", "1 of 1 expectations")


def model_of(layout: Layout) -> str:
    """What `train.model` in params.yaml says."""
    return str(YAML(typ="safe").load(layout.params)["train"].get("model", "markov"))


STAGES: dict[str, Callable[[Layout], None]] = {
    "ingest": ingest.run,
    "validate": validate,
    "sequence-split": sequence_split.run,
    "train": lambda layout: tiny.train(layout, model_of(layout)),
    "evaluate": lambda layout: with_metrics(layout),
}


def with_metrics(layout: Layout) -> None:
    """metrics.json as `evaluate` writes it, as far as pages read it."""
    path = layout.evaluation / "metrics.json"
    content = json.loads(path.read_text())
    write_json(path, {**content, "users": 400, "full": {"model": {"ndcg@10": 0.5}}})


def retrain(layout: Layout, hooks: Hooks | None = None) -> Result:
    """One retraining under the project's lock."""
    with lock.held(layout, "a test") as held:
        return carry_out(layout, held, hooks or Hooks(say=lambda line: None))
