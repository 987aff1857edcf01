"""`recctl models`: the registered versions."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo_json

if TYPE_CHECKING:
    from recctl.promotion.view.schema import ModelVersion

app = typer.Typer(
    help="List the registered versions, or show one.", rich_markup_mode=None, no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (docs/decision.schema.json).")]


@app.command(name="list")
def list_versions(as_json: AsJson = False) -> None:
    """List every version of the registered model."""
    from recctl.layout import Layout
    from recctl.promotion import history

    _print(history.versions(history.open_registry(Layout.find())), as_json, single=False)


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="A version's number or alias.")],
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one version."""
    from recctl.layout import Layout
    from recctl.promotion import history

    registry = history.open_registry(Layout.find())
    row = history.version(registry, history.number(registry, version))
    _print([row], as_json, single=True)


def _print(rows: "list[ModelVersion]", as_json: bool, single: bool) -> None:
    from recctl.promotion.view import schema
    from recctl.promotion.view import tables as showing

    if as_json:
        echo_json(schema.output("versions", versions=rows))
    elif single:
        showing.version(rows[0])
    else:
        showing.versions(rows)
