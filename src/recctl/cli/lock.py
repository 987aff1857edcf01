"""`recctl wait`: wait until nothing retrains this project."""

from typing import Annotated

import typer

from recctl import limits
from recctl.render.text import echo


def wait(
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=0,
            max=limits.WAIT_SECONDS,
            help="Seconds after which it ends with exit code 2.",
        ),
    ] = None,
) -> None:
    """Wait until nothing retrains this project; report what does."""
    from recctl import lock
    from recctl.layout import Layout

    lock.wait(Layout.find(), timeout, echo)
