"""`recctl stage NAME`: what dvc.yaml calls."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from recctl.layout import Layout

app = typer.Typer(
    help="Run one stage of the pipeline; 'dvc repro' calls these in order.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command()
def ingest() -> None:
    """Read the raw log into typed interactions; bad rows go to quarantine."""
    with _alone("ingest") as layout:
        from recctl.stages import ingest as stage

        stage.run(layout)


@app.command()
def validate() -> None:
    """Check the interactions against the expectations in params.yaml."""
    with _alone("validate") as layout:
        from recctl.stages import validate as stage

        stage.run(layout)


@app.command(name="sequence-split")
def sequence_split() -> None:
    """Make histories, hold out targets, count the vocabulary."""
    with _alone("sequence-split") as layout:
        from recctl.stages import sequence_split as stage

        stage.run(layout)


@app.command()
def train() -> None:
    """Train the model that params.yaml names."""
    with _alone("train") as layout:
        from recctl.stages import train as stage

        stage.run(layout)


@app.command()
def evaluate() -> None:
    """Rank every user's target with the model and the baselines."""
    with _alone("evaluate") as layout:
        from recctl.stages import evaluate as stage

        stage.run(layout)


@contextlib.contextmanager
def _alone(name: str) -> Iterator["Layout"]:
    """The project, locked so that nothing else retrains it while the stage runs."""
    from recctl import lock
    from recctl.layout import Layout

    layout = Layout.find()
    with lock.stage(layout, name):
        yield layout
