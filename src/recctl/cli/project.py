"""`recctl init`, `recctl upgrade`: a project apart from the framework."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recctl.render.text import echo, one_line

if TYPE_CHECKING:
    from recctl.scaffold import Upgrade


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Make a project in a new folder: settings, pipeline, schedules, flows, under git and DVC."""
    from recctl import git, scaffold

    scaffold.create(folder)
    commit = ""
    try:
        if git.root(folder) is None:
            commit = git.start(folder, f"A project of recctl {scaffold.version()}")
    except git.GitMissing as error:
        echo(f"recctl: without git: {one_line(str(error))}", err=True)
    echo(f"Made {folder}" + (f", commit {commit}." if commit else "."))
    echo(f"Next: cd {folder} && recctl data use FILE && dvc repro")


def upgrade(
    yes: Annotated[bool, typer.Option("--yes", help="Do it without a question.")] = False,
) -> None:
    """Bring a project that 'recctl init' made to the installed version of recctl.

    It shows first what it would do. Files that you have not changed are renewed; for those that you
    have, it shows the difference and leaves them as they are.
    """
    import sys

    from recctl import scaffold
    from recctl.cli.asking import yes_or_no
    from recctl.errors import UserError
    from recctl.layout import Layout

    found = scaffold.plan(Layout.find().root)
    if found.nothing:
        echo(f"Nothing to do: the project is of recctl {scaffold.version()}.")
        return
    _show(found)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError("nothing was changed: no terminal to ask at", "add --yes")
        if not yes_or_no("Do it?"):
            echo("Nothing was changed.")
            return
    found.apply()
    echo("Done. Look at it with 'git diff', commit it, then run 'dvc repro'.")


_DONE = {
    "add": "new",
    "renew": "renewed",
    "yours": "yours, left as it is; the difference to the new one:",
}


def _show(found: "Upgrade") -> None:
    from recctl import scaffold

    echo(f"From recctl {found.lock.version} to {scaffold.version()}:")
    for change in found.changes:
        echo(f"  {change.path}: {_DONE[change.action]}")
        for line in change.diff.splitlines():
            echo(f"    {line}")
    for stage in found.lock.changed:
        echo(f"  stage {stage}: its code changed, it runs again")
