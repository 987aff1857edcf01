"""`recctl intake`: takes in new interactions from the sources in params.yaml."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from recctl.intake.intake import Intake
    from recctl.retraining.accepted import Rejection


def intake(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    reject: Annotated[
        bool,
        typer.Option(
            "--reject",
            help="Remove the rows added to data/ since its accepted version; keep them aside.",
        ),
    ] = False,
) -> None:
    """Take in new interactions from the sources in params.yaml, each exactly once.

    They become a new version of data/; 'dvc repro' trains on it. First it publishes what a
    retraining decided but was killed before publishing. With --reject nothing is taken in: data/
    goes back to the newest version that passed validation.
    """
    from recctl import lock
    from recctl.layout import Layout
    from recctl.notify.notices import Notices
    from recctl.retraining import accepted
    from recctl.retraining.run import Hooks, collect

    layout = Layout.find()
    with lock.held(layout, "recctl intake", say=_say) as held:
        if reject:
            rejection = accepted.reject(layout, _say)
        else:
            decided = Notices(layout, _say, "intake").decided
            _, taken = collect(layout, held, Hooks(say=_say, decided=decided))
    if reject:
        if as_json:
            echo_json(rejection.as_dict())
        else:
            _show_rejection(rejection)
    elif as_json:
        echo_json(taken.as_dict())
    else:
        _show(taken)


def _say(text: str) -> None:
    echo(text, err=True)


def _show_rejection(rejection: "Rejection") -> None:
    rows = sum(batch.stored for batch in rejection.batches)
    echo(f"{rows:,} rows of version {rejection.version[:8]} are removed from data/")
    echo(f"they are kept in {rejection.kept}")
    for name in rejection.moved:
        echo(f"they came from the file {name}: correct it and drop it again")
    for batch in rejection.batches:
        if not batch.source.startswith("folder:"):
            echo(f"{batch.source} will return them again: correct them there first")
    echo(f"data/ is now the accepted version {rejection.accepted[:8]}")


def _show(taken: "Intake") -> None:
    from recctl.render.console import Console
    from recctl.render.grid import Grid, left, right
    from recctl.render.numbers import count

    console = Console()
    figures = right("new", "duplicates", "late", "out of order", "bad")
    grid = Grid("", [*left("taken", cut=True), *figures, *left("from", "to")])
    for batch in taken.batches:
        counts = (batch.new, batch.duplicates, batch.late, batch.out_of_order)
        times = [(time or "")[:19] for time in (batch.first_time, batch.last_time)]
        grid.add(batch.name, *map(count, (*counts, sum(batch.bad.values()))), *times)
    if taken.batches:
        grid.print(console)
    for name, reason in taken.refused:
        console.print(f"refused: {name}: {reason}", soft_wrap=True)
    for name in taken.waiting:
        console.print(f"still being written: {name}", soft_wrap=True)
    version = taken.data_md5_after[:8]
    change = "is now" if taken.changed else "stays"
    console.print(f"{taken.new:,} new interactions; data/ {change} version {version}")
