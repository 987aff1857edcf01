"""`recctl up`, `recctl down`, `recctl status`: the services that run the schedules here."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from recctl.services.up import Up


def up() -> None:
    """Start Prefect, MLflow's pages, 'recctl serve' and a worker here; register the deployments.

    They listen on this machine only and keep running when you log out; Prefect and MLflow require
    the key. A service that runs already is left alone; one that has died is started again.
    """
    from recctl.layout import Layout
    from recctl.services.up import up as bring_up

    _show(bring_up(Layout.find(), lambda line: echo(f"  {line} ...")))


def _show(result: "Up") -> None:
    from recctl.render.console import Console, Table

    console = Console(soft_wrap=True)
    if result.started:
        console.print(f"Started: {', '.join(result.started)}.")
    else:
        console.print("Already up; the deployments were registered again.")
    for note in result.notes:
        console.print(f"Note: {note}.")
    table = Table.grid(padding=(0, 2))
    table.add_row("", "Prefect", result.prefect)
    table.add_row("", "MLflow", result.mlflow)
    table.add_row("", "their key", f"cat {result.key}")
    table.add_row("", "recommendations", result.serve)
    table.add_row("", "retrain now", "prefect deployment run 'retrain/nightly'")
    table.add_row("", "stop all", "recctl down")
    console.print(table)


def down() -> None:
    """Stop what 'recctl up' started, with every flow that runs on it; leaves no process behind."""
    from recctl.layout import Layout
    from recctl.services.down import down as bring_down

    stopped = bring_down(Layout.find())
    echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was up.")


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who serves, the last and the next retraining, and all that is not well, with its fix.

    Ends with exit code 2 unless every service is up. Only MLflow may be down: nothing is started
    where MLFLOW_TRACKING_URI names a server.
    """
    from recctl import oncall
    from recctl.layout import Layout

    checks = oncall.checks(Layout.find())
    unwell = [check.name for check in checks if check.state != "ok"]
    if as_json:
        import dataclasses

        echo_json({"well": not unwell, "checks": [dataclasses.asdict(check) for check in checks]})
    else:
        from recctl.cli.doctor import show
        from recctl.render.console import Console

        show(checks, Console())
        echo()
        echo(f"Not well: {', '.join(unwell)}." if unwell else "All is well.")
    if oncall.is_missed(checks):
        raise typer.Exit(2)


def approve(
    run: Annotated[
        str | None,
        typer.Argument(help="Name or id of the flow run; without it the only one that waits."),
    ] = None,
    decline: Annotated[
        bool, typer.Option("--decline", help="Answer no: the model does not serve.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Who says so; kept with the decision.")
    ] = None,
) -> None:
    """Answer a scheduled retraining that waits for approval: its model may serve, or may not."""
    from recctl.layout import Layout
    from recctl.services import flow_runs
    from recctl.user_identity import user

    who = (name or "").strip() or user()
    answered = flow_runs.answer(Layout.find(), run, approve=not decline, name=who)
    echo(f"{'Declined' if decline else 'Approved'} by {who}: {answered}.")
