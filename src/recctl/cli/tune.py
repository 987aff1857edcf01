"""`recctl tune`: a search for a model's settings."""

from typing import Annotated, Literal

import typer

from recctl import limits
from recctl.render.text import echo, echo_json


def tune(
    model: Annotated[
        str | None, typer.Argument(help="The model; left out: the one that params.yaml trains.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Minutes of search; left out: tune.budget_minutes.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Trials to add; alone, they end the search.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Trials side by side; left out: tune.jobs.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin a new study; others stay.")] = False,
    best: Annotated[
        bool, typer.Option("--best", help="Run no trial: show the newest study's best.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Write the best settings to params.yaml.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; everything else goes to stderr.")
    ] = False,
) -> None:
    """Search for the model's best settings, judged on validation NDCG@10.

    Optuna chooses each trial's settings and ends a training early that falls behind; the test set
    is not read. The first trial has the settings of params.yaml. A search that was interrupted is
    continued by the same command. Values and defaults: `tune` in params.yaml, docs/tuning.md.
    """
    from recctl import lock
    from recctl.layout import Layout
    from recctl.render.console import Console
    from recctl.tuning.params import TuneParams
    from recctl.tuning.report import write_best
    from recctl.tuning.search import existing, search

    for name, value, most in (
        ("--minutes", minutes, limits.TUNE_MINUTES),
        ("--trials", trials, limits.TUNE_TRIALS),
        ("--jobs", jobs, limits.PROCESSES),
    ):
        _require(name, value, most)
    layout = Layout.find()
    if minutes is None and trials is None:
        minutes = TuneParams.load(layout.params).budget_minutes

    def say(line: str) -> None:
        echo(f"tune: {line}", err=True)

    if best:
        found = existing(layout, model)
    else:
        when: Literal["always", "never"] = "always" if new else "never"
        with lock.stage(layout, "tune"):
            found = search(layout, model, say, minutes=minutes, trials=trials, jobs=jobs, new=when)
    if as_json:
        echo_json(found.as_dict())
    else:
        found.table().print(Console())
    for line in write_best(layout, found) or ["it has these settings"] if write else []:
        say(f"params.yaml: {line}")


def _require(name: str, value: float | None, most: float) -> None:
    """UserError where an option leaves no room for a trial, or is too large."""
    from recctl.errors import UserError

    if value is not None and not 0 < value <= most:
        raise UserError(f"{name} {value:g} is out of range", f"give more than 0, at most {most:,}")
