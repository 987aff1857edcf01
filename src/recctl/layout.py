"""The paths of everything in a project, in one place."""

import os
from dataclasses import dataclass
from pathlib import Path

from recctl.errors import UserError
from recctl.render.text import literal


@dataclass(frozen=True)
class Layout:
    """The paths of one project, all in its root folder."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> "Layout":
        """The project that holds `start` (default: the current directory).

        Raises UserError when neither it nor a folder above it holds a dvc.yaml and a params.yaml,
        and when the project's path has signs that the databases' addresses cannot hold.
        """
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
                check(folder)
                return cls(folder)
        if (here / "dvc.yaml").is_file():
            raise UserError(f"no file {here / 'params.yaml'}", "restore it from git")
        raise UserError(
            f"no recctl project in {here} or above it (no dvc.yaml with a params.yaml beside it)",
            "change into the project's folder",
        )

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """The raw interaction log, versioned by data.dvc."""
        return self.root / "data"

    @property
    def interactions(self) -> Path:
        """What ingest writes: interactions, items, quarantine, report."""
        return self.root / "artifacts" / "interactions"

    @property
    def validation(self) -> Path:
        """What validate writes: report and Data Docs."""
        return self.root / "artifacts" / "validation"

    @property
    def sequences(self) -> Path:
        """What sequence-split writes: flat arrays, vocabulary, report."""
        return self.root / "artifacts" / "sequences"

    @property
    def model(self) -> Path:
        """The trained model: a folder that recommends without the training data."""
        return self.root / "artifacts" / "model"

    @property
    def training(self) -> Path:
        """How the training went: curve, metrics, MLflow run."""
        return self.root / "artifacts" / "training"

    @property
    def evaluation(self) -> Path:
        """What evaluate writes: metrics, ranks, report, plots."""
        return self.root / "artifacts" / "evaluation"

    @property
    def tuning(self) -> Path:
        """The studies of `recctl tune`: Optuna's database, a folder with report and plots each."""
        return self.root / "artifacts" / "tuning"

    @property
    def decisions(self) -> Path:
        """Pages of promotion's decisions, one folder each; the registry holds the decisions."""
        return self.root / "artifacts" / "decisions"

    @property
    def monitoring(self) -> Path:
        """The champion's figures on the events after its training, as of the last check."""
        return self.root / "artifacts" / "monitoring"

    @property
    def served(self) -> Path:
        """What the service keeps: events that it was sent, answers that it gave."""
        return self.state / "served"

    @property
    def state(self) -> Path:
        """State that is no stage's output: checkpoints, locks, downloads under way."""
        return self.root / ".recctl"


def check(root: Path) -> None:
    """Refuse a path that a library would misread, before anything is written.

    An sqlite address ends at a question mark; MLflow quotes a folder as Python does, which is not
    valid SQL where it has both kinds of quotes; DVC's cache replaces the name of an environment
    variable by its value.
    """
    path = str(root)
    bad = {sign for sign in path if sign == "?" or literal(sign) != sign}
    bad |= set("'\"") if {"'", '"'} <= set(path) else set()
    bad |= {"$"} if os.path.expandvars(path) != path else set()
    if bad:
        raise UserError(
            f"MLflow and DVC cannot work in the project's folder {path}: its path contains "
            f"{' and '.join(map(ascii, sorted(bad)))}",
            "rename the folder, or move the project to another one",
        )
