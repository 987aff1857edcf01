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
    from recctl.monitoring import online, online_page

    report = online.read(Layout.find())
    if as_json:
        echo_json(report.as_dict())
        return
    from recctl.render.console import Console

    for grid in online_page.grids(report):
        grid.print(Console())
        echo("")
    for one in report.interleaved:
        echo(one.sentence)
    if report.versions or report.interleaved:
        echo(online_page.sentence(report))
