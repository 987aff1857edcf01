"""The typer application: every command group, registered by name."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from recctl import __version__
from recctl.cli import (
    data,
    doctor,
    intake,
    leaderboard,
    lock,
    models,
    monitor,
    promotion,
    recommend,
    report,
    retrain,
    services,
    stage,
)
from recctl.errors import circumstance
from recctl.render.text import echo


class _Plainly(TyperGroup):
    """Keeps from typer what it would answer with exit code 1, which is for defects."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; see `recctl.cli.main` for what becomes of its errors."""
        try:
            return super().invoke(ctx)
        except typer.Abort:  # the end of the input, or Ctrl-C, at a question
            raise KeyboardInterrupt from None
        except (EOFError, BrokenPipeError) as error:
            raise circumstance(error) or error from None


app = typer.Typer(
    name="recctl",
    cls=_Plainly,
    help="Retrain sequential recommenders; serve a new model only when it is proven better.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(stage.app, name="stage")
app.command(name="intake")(intake.intake)
app.command(name="leaderboard")(leaderboard.leaderboard)
app.command(name="recommend")(recommend.recommend)
app.command(name="doctor")(doctor.doctor)
app.command(name="report")(report.report)
app.command(name="wait")(lock.wait)
app.command(name="retrain")(retrain.retrain)
app.command(name="backfill")(retrain.backfill)
app.command(name="promote")(promotion.promote)
app.command(name="compare")(promotion.compare)
app.command(name="rollback")(promotion.rollback)
app.command(name="history")(promotion.history)
app.command(name="explain")(promotion.explain)
app.command(name="verify")(promotion.verify)
app.add_typer(models.app, name="models")
app.command(name="up")(services.up)
app.command(name="down")(services.down)
app.command(name="status")(services.status)
app.command(name="monitor")(monitor.monitor)


def _version(show: bool) -> None:
    if show:
        echo(f"recctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
