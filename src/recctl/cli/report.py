"""`recctl report`: the last evaluation's tables again."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.render.text import echo_json

if TYPE_CHECKING:
    from recctl.layout import Layout
    from recctl.revisions import Revision

_NEEDED = (
    *("users", "catalogue", "metrics", "protocols", "slices", "beyond_accuracy"),
    "unreachable_targets",
)


def report(
    compare: Annotated[
        list[str] | None,
        typer.Option(help="A git revision, a DVC experiment or workspace; repeat it for more."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
) -> None:
    """Print the metrics, slices and baselines of the last evaluation.

    With --compare, one table of the models of several revisions: the settings in which they differ,
    HR@10 and NDCG@10, seconds of training and size.
    """
    from recctl.evaluation.tables import show
    from recctl.files import read_json
    from recctl.layout import Layout

    if compare:
        _compare(Layout.find(), compare, as_json)
        return
    content = read_json(Layout.find().evaluation / "report.json", "evaluate", _NEEDED)
    if as_json:
        echo_json(content)
    else:
        show(content)


def _compare(layout: "Layout", names: list[str], as_json: bool) -> None:
    import dataclasses

    from recctl import revisions
    from recctl.render.console import Console

    found = [revisions.read(layout, name) for name in dict.fromkeys(names)]
    if as_json:
        echo_json([dataclasses.asdict(one) for one in found])
        return
    console = Console()
    _table(found).print(console)
    if len({one.fingerprint for one in found}) > 1:
        console.print("Evaluated on different data or by different rules: figures with another")
        console.print("fingerprint must not be compared.")


def _table(found: "list[Revision]") -> Any:
    from recctl.render.grid import Grid, left, right
    from recctl.render.numbers import figure, span
    from recctl.revisions import differing

    keys = differing(found)
    columns = [*left("revision", "model", "settings that differ")]
    columns += right("HR@10", "NDCG@10", "95% interval", "seconds", "MB", "fingerprint", whole=True)
    grid = Grid("", columns)
    for one in found:
        hr, ndcg = (one.figures.get(name, {}) for name in ("hr@10", "ndcg@10"))
        grid.add(
            one.name,
            one.model,
            ", ".join(f"{key} {one.settings.get(key)}" for key in keys if key in one.settings),
            figure(hr.get("value")),
            figure(ndcg.get("value")),
            span(ndcg.get("low"), ndcg.get("high")),
            "" if one.seconds is None else f"{one.seconds:,.0f}",
            f"{one.size / 1e6:,.1f}",
            one.fingerprint[:6],
        )
    return grid
