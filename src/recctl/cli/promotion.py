"""`recctl promote`, `compare`, `rollback`, `history`, `explain`, `verify`: who serves, and why."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl import limits
from recctl.cli.forget import finish_left
from recctl.render.text import echo, echo_json, say

if TYPE_CHECKING:
    from recctl.layout import Layout
    from recctl.promotion.judge.record import DecisionRecord
    from recctl.promotion.promote import Confirm, Outcome

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (docs/decision.schema.json).")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before the champion changes.")]


def promote(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Judge and print; register and move nothing.")
    ] = False,
    yes: Yes = False,
    force: Annotated[
        bool, typer.Option("--force", help="Let it serve whatever the verdict; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why it is forced; kept with the decision.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge the workspace's model against the champion; it serves if it is proven better.

    Exit codes: 0 promoted, would be, or nothing to do; 2 refused or bad input; 3 rejected;
    4 suspicious; 5 stale (another decision came first); 6 provisional (it waits for later events).
    """
    from recctl.layout import Layout
    from recctl.promotion.promote import promote as judge

    confirm, layout = _confirmation(yes or dry_run, as_json, "Let this model serve?"), Layout.find()
    if not dry_run:
        finish_left(layout)
    done = judge(layout, confirm=confirm, say=say, dry_run=dry_run, force=force, reason=reason)
    _finish(layout, done, as_json, shown=not yes and not dry_run)


def rollback(
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")],
    to: Annotated[
        int | None,
        typer.Option("--to", max=limits.VERSION, help="A version; without it the champion before."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take a version that no decision ever let serve.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let the champion before this one, or a version named, serve again."""
    from recctl.layout import Layout
    from recctl.promotion.rollback import rollback as back

    confirm, layout = _confirmation(yes, as_json, "Let that version serve again?"), Layout.find()
    done = back(layout, reason=reason, to=to, confirm=confirm, say=say, force=force)
    _finish(layout, done, as_json, shown=not yes)


def compare(
    first: Annotated[str, typer.Argument(help="A version's number or alias, or `workspace`.")],
    second: Annotated[str, typer.Argument(help="The one it is compared with.")],
    as_json: AsJson = False,
) -> None:
    """Compare any two models on today's test set."""
    from recctl.layout import Layout
    from recctl.promotion import compare as comparing
    from recctl.promotion.view import schema, tables

    record = comparing.compare(Layout.find(), first, second, say)
    _out(
        as_json,
        lambda: schema.output("comparison", comparison=record),
        lambda: tables.comparison(record),
    )


def history(as_json: AsJson = False) -> None:
    """List every decision ever taken."""
    from recctl.layout import Layout
    from recctl.promotion import history
    from recctl.promotion.view import schema, tables

    rows = history.decisions(history.open_registry(Layout.find()))
    _out(as_json, lambda: schema.output("history", rows=rows), lambda: tables.history(rows))


def explain(
    decision: Annotated[
        int, typer.Argument(max=limits.VERSION, help="The number in `recctl history`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show a decision with all the evidence behind it, and take it again from that evidence."""
    from recctl.layout import Layout
    from recctl.promotion import history
    from recctl.promotion.ledger import log
    from recctl.promotion.trial import archive
    from recctl.promotion.view import schema, tables

    registry = history.open_registry(Layout.find())
    row = history.decision(registry, decision)
    record = row.body
    assert record is not None
    erased = log.erased(log.in_force(registry.entries()), decision)
    same, sentence = archive.repeat(registry, record, erased)

    def people() -> None:
        tables.decision(record, row)
        echo(f"{'Checked' if same else 'NOT CONFIRMED'}: {sentence}.")

    code = 0 if same else 2
    _out(as_json, lambda: schema.decision_output(record, code, row, note=sentence), people)
    raise typer.Exit(code)


def verify(
    everything: Annotated[
        bool, typer.Option("--all", help="Every version and decision, not only what may serve.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the decisions' chain, the versions' digests and the aliases; exit code 2 if not so."""
    from recctl.layout import Layout
    from recctl.promotion import history
    from recctl.promotion.verify import verify as check
    from recctl.promotion.view import schema, tables

    layout = Layout.find()
    rows = check(history.open_registry(layout), layout, everything=everything)
    whole = all(row.ok for row in rows)
    _out(
        as_json,
        lambda: schema.output("verification", consistent=whole, checks=rows),
        lambda: tables.checks(rows),
    )
    if not whole:
        raise typer.Exit(2)


def _confirmation(yes: bool, as_json: bool, question: str) -> "Confirm":
    """How a change is agreed to: by --yes, or by the person at the terminal, who runs recctl."""
    import sys

    from recctl.errors import UserError
    from recctl.user_identity import user

    if not yes and not sys.stdin.isatty():
        raise UserError("no terminal to ask for confirmation", "give --yes (or --dry-run)")

    def ask(record: "DecisionRecord") -> str | bool:
        from recctl.cli.asking import yes_or_no
        from recctl.promotion.view import tables

        if yes:
            return user()
        if not as_json:
            tables.decision(record)
        try:
            return yes_or_no(question, err=True) and user()
        except (typer.Abort, KeyboardInterrupt):  # as anywhere else, and not a defect
            echo(err=True)
            raise typer.Exit(130) from None

    return ask


def _finish(layout: "Layout", done: "Outcome", as_json: bool, shown: bool) -> None:
    """Print a decision that was taken, send its notice and leave with its exit code."""
    from recctl.notify.notices import Notices
    from recctl.promotion import history
    from recctl.promotion.view import schema, tables

    row = history.row(done.entry, in_force=True) if done.entry else None

    def people() -> None:
        if done.record is None:
            echo(done.note or "")
        else:
            tables.decision(done.record, row)

    output = schema.decision_output(done.record, done.exit_code, row, done.note)
    _out(as_json, lambda: output, people)
    if done.record and done.entry:
        Notices(layout, say, done.record.kind).decided(done.record, done.entry.position)
    raise typer.Exit(done.exit_code)


def _out(
    as_json: bool, content: "Callable[[], dict[str, Any]]", people: "Callable[[], None]"
) -> None:
    if as_json:
        echo_json(content())
    else:
        people()
