"""The typer application: every command group, registered by name."""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from recctl.cli import (
    data,
    doctor,
    forget,
    intake,
    leaderboard,
    lock,
    models,
    monitor,
    notify,
    online,
    project,
    promotion,
    recommend,
    report,
    retrain,
    serve,
    services,
    stage,
    tune,
)
from recctl.errors import UserError, circumstance
from recctl.render.text import echo


class _OneLine(TyperGroup):
    """Raises errors that typer would print in several lines or end with exit code 1."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Parse the options before the command."""
        with _usage():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `recctl.cli.main` prints its errors."""
        try:
            with _usage():
                return super().invoke(ctx)
        except typer.Abort:  # the end of the input, or Ctrl-C, at a question
            raise KeyboardInterrupt from None
        except (EOFError, BrokenPipeError) as error:
            raise circumstance(error) or error from None


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """Turns an error of typer into a UserError, except the help of a group without a command."""
    try:
        yield
    except TyperException as error:
        ctx: Any = getattr(error, "ctx", None)
        if ctx is None or error.message == ctx.get_help():
            raise
        what = error.format_message().removesuffix(".")
        raise UserError(what[:1].lower() + what[1:], f"see: {ctx.command_path} --help") from None


app = typer.Typer(
    name="recctl",
    cls=_OneLine,
    help="Retrain sequential recommenders; serve a new model only when it is proven better.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command(name="init")(project.init)
app.command(name="upgrade")(project.upgrade)
app.add_typer(data.app, name="data")
app.add_typer(stage.app, name="stage")
app.command(name="intake")(intake.intake)
app.command(name="forget")(forget.forget)
app.command(name="leaderboard")(leaderboard.leaderboard)
app.command(name="tune")(tune.tune)
app.command(name="recommend")(recommend.recommend)
app.command(name="similar")(recommend.similar)
app.command(name="serve")(serve.serve)
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
app.command(name="approve")(services.approve)
app.command(name="monitor")(monitor.monitor)
app.command(name="online")(online.online)
app.command(name="notify")(notify.notify)


def _version(show: bool) -> None:
    if show:
        from recctl import __version__

        echo(f"recctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
