"""`recctl stage NAME`: what dvc.yaml calls."""

import typer

app = typer.Typer(
    help="Run one stage of the pipeline; 'dvc repro' calls these in order.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def _add(name: str, help: str) -> None:
    @app.command(name=name, help=help)
    def run() -> None:
        """The stage, locked so that nothing else retrains the project while it runs."""
        from importlib import import_module

        from recctl import lock, scaffold
        from recctl.layout import Layout

        layout = Layout.find()
        scaffold.require_locked(layout.root, name)
        with lock.stage(layout, name):
            import_module(f"recctl.stages.{name.replace('-', '_')}").run(layout)


_add("ingest", "Read the raw log into typed interactions; bad rows go to quarantine.")
_add("validate", "Check the interactions against the expectations in params.yaml.")
_add("sequence-split", "Make histories, hold out targets, count the vocabulary.")
_add("train", "Train the model that params.yaml names.")
_add("evaluate", "Rank every user's target with the model and the baselines.")
