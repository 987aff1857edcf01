"""`recctl stage NAME`: what dvc.yaml calls."""

import typer

app = typer.Typer(
    help="Run one stage of the pipeline; 'dvc repro' calls these in order.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command()
def ingest() -> None:
    """Read the raw log into typed interactions; bad rows go to quarantine."""
    from recctl.layout import Layout
    from recctl.stages import ingest as stage

    stage.run(Layout.find())


@app.command()
def validate() -> None:
    """Check the interactions against the expectations in params.yaml."""
    from recctl.layout import Layout
    from recctl.stages import validate as stage

    stage.run(Layout.find())


@app.command(name="sequence-split")
def sequence_split() -> None:
    """Make histories, hold out targets, count the vocabulary."""
    from recctl.layout import Layout
    from recctl.stages import sequence_split as stage

    stage.run(Layout.find())


@app.command()
def train() -> None:
    """Train the model that params.yaml names."""
    from recctl.layout import Layout
    from recctl.stages import train as stage

    stage.run(Layout.find())


@app.command()
def evaluate() -> None:
    """Rank every user's target with the model and the baselines."""
    from recctl.layout import Layout
    from recctl.stages import evaluate as stage

    stage.run(Layout.find())
