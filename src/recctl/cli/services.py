"""`recctl up`, `recctl down`, `recctl status`: the services that run the schedules here."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from recctl.services.up import Up


def up() -> None:
    """Start Prefect, MLflow's pages and a worker here, and register the deployments.

    They listen on this machine only, require the key, and keep running when you log out. A service
    that runs already is left alone; one that has died is started again.
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
    """Show which services are up, and where; ends with exit code 2 unless all are.

    Only MLflow may be down: nothing is started where MLFLOW_TRACKING_URI names a server.
    """
    from recctl.layout import Layout
    from recctl.services.down import status as look

    states = look(Layout.find())
    if as_json:
        import dataclasses

        echo_json([dataclasses.asdict(state) for state in states])
    else:
        for state in states:
            echo(f"{state.name:8} {state.state:5} {state.address or '':22} {state.log}")
    if any(state.state != "up" and (state.name, state.state) != _NOT_MISSED for state in states):
        raise typer.Exit(2)


_NOT_MISSED = ("mlflow", "down")
"""The state of MLflow where `recctl up` found a server of the team."""
