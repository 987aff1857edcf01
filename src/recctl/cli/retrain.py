"""`recctl retrain` and `recctl backfill`: the work of the flows, without Prefect."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl import limits
from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from datetime import date

    from recctl.promotion.judge.record import DecisionRecord
    from recctl.retraining.pages import Page


def retrain(
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            max=limits.WAIT_SECONDS / 60,
            help="Minutes to wait for another retraining to end.",
        ),
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; everything else goes to stderr.")
    ] = False,
) -> None:
    """Take in new data, run the pipeline, decide, publish to git and the remote.

    This is the flow `retrain` at the terminal. Under `approval: manual` it asks there, and no
    answer within `approval_hours` is no. Exit codes: 0 promoted, unchanged, nothing new or not
    approved; 1 a defect of recctl; 2 refused, bad input, or something that you can change;
    3 rejected; 4 suspicious; 5 stale; 6 provisional; 130 interrupted.
    """
    from functools import partial

    from recctl import lock
    from recctl.layout import Layout
    from recctl.notify import notices
    from recctl.promotion.promote import EXIT_CODES
    from recctl.retraining.params import RetrainParams
    from recctl.retraining.run import Hooks
    from recctl.retraining.run import retrain as carry_out
    from recctl.user_identity import user

    layout = Layout.find()
    who = f"{user()}'s 'recctl retrain'"
    hours = RetrainParams.load(layout.params).approval_hours
    say = partial(echo, err=as_json)

    def show(page: "Page") -> None:
        if page.key == "intake":
            say(page.title)

    def approve(decision: "DecisionRecord") -> str | bool:
        sent.awaited(decision, hours)
        try:
            return _approve(hours, as_json, decision)
        except typer.Abort:  # Ctrl-D: no failure
            raise KeyboardInterrupt from None

    with (
        lock.held(layout, who, wait=60 * wait, say=say) as held,
        notices.during(layout, say, "retrain") as sent,
    ):
        hooks = Hooks(say=say, show=show, approve=approve, decided=sent.decided)
        result = carry_out(layout, held, hooks)
    if as_json:
        echo_json(result.as_dict())
    else:
        echo(result.sentence)
    if not result.nothing_new:
        raise typer.Exit(EXIT_CODES.get(str(result.record.ending), 0))


def backfill(
    first: Annotated[str, typer.Argument(help="The first day, such as 2024-12-01.")],
    last: Annotated[str, typer.Argument(help="The last day.")],
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting for the replay, such as train.max_epochs=5."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay the log's days: what the system would have done, and how its champions did.

    Uses a separate folder and registry name. Run again after an interrupt, it continues.
    """
    import dataclasses

    from recctl.cli.setting import setting as parsed
    from recctl.layout import Layout
    from recctl.render.console import Console
    from recctl.retraining import backfill as replaying
    from recctl.retraining import curve
    from recctl.retraining.run import Hooks

    layout = Layout.find()
    days = []
    hooks = Hooks(say=lambda line: echo(line, err=True), approve=lambda decision: True)
    start, end = _day(first), _day(last)
    settings = dict(map(parsed, setting or []))
    for day in replaying.backfill(layout, start, end, hooks, settings=settings):
        days.append(day)
        echo(f"{day.day}: {day.sentence}", err=as_json)
    path = layout.root / "artifacts" / "backfill" / f"{start}-{end}.png"
    curve.plot(days, path)
    if as_json:
        content = [dataclasses.asdict(day) for day in days]
        echo_json({"days": content, "curve": str(path.relative_to(layout.root))})
        return
    curve.table(days).print(Console())
    echo(f"curve: {path.relative_to(layout.root)}")


def _day(text: str) -> "date":
    from datetime import date

    from recctl.errors import UserError

    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UserError(f"'{text:.40}' is not a day", "write it like 2024-12-31") from None
    if day.year > limits.WATERMARK_YEAR:
        raise UserError(f"{day} is later than any log", "write it like 2024-12-31")
    return day


def _approve(hours: float, err: bool, decision: "DecisionRecord") -> str | bool:
    """Ask at the terminal whether the model may serve; the user who says yes."""
    import sys

    from recctl.cli.asking import yes_or_no
    from recctl.promotion.view import tables
    from recctl.render.console import Console
    from recctl.user_identity import user

    tables.decision(decision, console=Console(stderr=True) if err else None)
    if sys.stdin.isatty():
        echo(f"No answer within {hours:g} hours means no; until then the project is held.", err=err)
        return yes_or_no("Let this model serve?", hours, err) and user()
    return typer.confirm("Let this model serve?", default=False, err=err) and user()
