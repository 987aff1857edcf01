"""`recctl report`: the last evaluation's tables again."""

from typing import Annotated

import typer

from recctl.render.text import echo_json

_NEEDED = (
    *("users", "catalogue", "metrics", "protocols", "slices", "beyond_accuracy"),
    "unreachable_targets",
)


def report(
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
) -> None:
    """Print the metrics, slices and baselines of the last evaluation."""
    from recctl.evaluation.tables import show
    from recctl.files import read_json
    from recctl.layout import Layout

    content = read_json(Layout.find().evaluation / "report.json", "evaluate", _NEEDED)
    if as_json:
        echo_json(content)
    else:
        show(content)
