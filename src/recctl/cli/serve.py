"""`recctl serve`: the HTTP service."""

import os
from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8000,
) -> None:
    """Answer requests for recommendations over HTTP, by the champion of the moment.

    Its pages are at /docs. It follows promotions and rollbacks within seconds. On another address
    than this machine's own it needs RECCTL_SERVE_TOKEN, and asks every client for that token.
    """
    from recctl.layout import Layout
    from recctl.serve.run import run

    run(Layout.find(), host, port, os.environ.get("RECCTL_SERVE_TOKEN"))
