"""`recctl notify`: sends the notices that wait, or a test message."""

from typing import Annotated

import typer

from recctl.render.text import echo


def notify(
    test: Annotated[
        bool, typer.Option("--test", help="Send a test message to every address.")
    ] = False,
) -> None:
    """Send the notices that an address of params.yaml (section notify) has not accepted yet.

    With --test a message is sent to every address, and a line for each says whether it was
    accepted. Ends with exit code 2 where one was not.
    """
    from recctl.layout import Layout
    from recctl.notify import notices

    layout = Layout.find()
    results = notices.test(layout) if test else notices.send(layout, {})
    for place, problem in results.items():
        echo(f"{place}: {f'not accepted: {problem}' if problem else 'accepted'}")
    if any(results.values()):
        raise typer.Exit(2)
    if not results:
        echo("No notice waits.")
