"""`recctl online`: what users did with the lists of the versions that served."""

from typing import Annotated

import typer

from recctl.render.text import echo, echo_json


def online(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show clicks by version, which of two versions users prefer, and lists that were not shown.

    It reads what the service kept (serve.exposures, serve.challenger) and the events that were
    posted with their requests. The intervals hold together on all days of a year.
    """
    from recctl.layout import Layout
    from recctl.online import page, report

    found = report.read(Layout.find())
    if as_json:
        echo_json(found.as_dict())
        return
    from recctl.render.console import Console

    for grid in page.grids(found):
        grid.print(Console())
        echo("")
    for one in found.interleaved:
        echo(one.sentence)
    if found.versions or found.interleaved:
        echo(page.sentence(found))
