"""`recctl serve`: the HTTP service."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recctl import limits
from recctl.render.text import say

if TYPE_CHECKING:
    from recctl.layout import Layout
    from recctl.promotion.promote import Outcome


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=limits.SERVERS, help="Processes that answer, not serve.workers."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            help="A file for the lines of requests, not stderr; at 64 MiB it becomes FILE.1.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Answer requests for recommendations over HTTP, by the champion of the moment.

    Its status page is at /, and /openapi.json describes the requests. It follows promotions and
    rollbacks within seconds. On another address than this machine's own it needs
    RECCTL_SERVE_TOKEN, and asks every client for that token.
    """
    from recctl.layout import Layout
    from recctl.serve.run import run

    layout, token = Layout.find(), os.environ.get("RECCTL_SERVE_TOKEN")
    run(layout, host, port, token, log, workers, partial(_undone, layout))


def _undone(layout: "Layout", outcome: "Outcome") -> None:
    """Send the notice of a rollback."""
    from recctl.notify.notices import Notices

    if outcome.record and outcome.entry:
        Notices(layout, say, "serve").decided(outcome.record, outcome.entry.position)
