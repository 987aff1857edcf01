"""`recctl monitor`: the champion's figures on events after its training."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo, echo_json, say

if TYPE_CHECKING:
    from recctl.monitoring.report import Report


def monitor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score the champion on the interactions that came after its training.

    A champion that has fallen is a result: the exit code is 0.
    """
    from recctl.layout import Layout
    from recctl.monitoring.watch import watch

    report = watch(Layout.find(), say)
    if as_json:
        echo_json(report.as_dict())
    else:
        _print(report)


def _print(report: "Report") -> None:
    from recctl.monitoring import page
    from recctl.render.console import Console

    days = page.days(report)
    if days.rows:
        days.print(Console())
    echo(report.sentence)  # in one line
