"""`recctl forget`: removes users from the project."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo_json, say

if TYPE_CHECKING:
    from recctl.forget.forget import Forgotten
    from recctl.layout import Layout


def forget(
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the decision log.")],
    users: Annotated[
        list[str] | None, typer.Argument(metavar="USER...", help="The users' ids in the log.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A text file with an id per line.")
    ] = None,
    remote: Annotated[
        bool, typer.Option("--remote", help="Remove former versions from DVC's remotes as well.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove users from the data, from all that was made of it and from evidence.

    It cannot be undone. docs/forget.md lists every place, and what cannot be reached.
    """
    from recctl import lock
    from recctl.data import plain
    from recctl.forget import forget as core
    from recctl.layout import Layout

    layout, ids = Layout.find(), list(users or [])
    if file is not None:
        ids += [line.decode() for line in plain.lines(file)]
    with lock.held(layout, "recctl forget", say=say):
        done = core.forget(layout, ids, reason=reason, remote=remote, dry_run=dry_run, say=say)
    if as_json:
        echo_json(done.as_dict())
    else:
        _show(done, dry_run)


def finish_left(layout: "Layout") -> None:
    """Finish a `forget` that was killed, before a command that changes the registry."""
    from recctl import lock
    from recctl.forget import forget as core

    if core.is_left(layout):
        with lock.held(layout, "recctl forget", say=say):
            core.finish(layout, say)


def _show(done: "Forgotten", dry_run: bool) -> None:
    from recctl.render.console import Console
    from recctl.render.grid import Grid, left, right
    from recctl.render.numbers import count

    console = Console()
    grid = Grid(
        "", [*left("place", fold=True), *right("would go" if dry_run else "removed"), *left("of")]
    )
    for one in done.removed:
        if one.count:
            grid.add(one.place, count(one.count), one.what)
    grid.print(console)
    for line in done.unreached:
        console.print(f"not reached: {line}", soft_wrap=True)
    if done.trained:
        numbers = ", ".join(map(str, done.trained))
        console.print(f"trained on them: versions {numbers}", soft_wrap=True)
    if dry_run:
        console.print("nothing was changed")
    else:
        version = str(done.data_md5)[:8]
        console.print(f"decision {done.decision}; data/ is now version {version}", soft_wrap=True)
        console.print("next: 'dvc repro', or the nightly run")
