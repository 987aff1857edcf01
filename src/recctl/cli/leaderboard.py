"""`recctl leaderboard`: models side by side on today's test set."""

from typing import TYPE_CHECKING, Annotated

import typer

from recctl import limits
from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recctl.leaderboard import Board, Row
    from recctl.render.grid import Grid

ALPHA = 0.05
"""Two models differ where the p-value, adjusted for the number of pairs, is not above this."""


def leaderboard(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names of models; default: all.")
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds to train with, such as 1,2,3; default: train.seed.")
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of train for all of them: max_epochs=5."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train models under one budget and show them in one table, with every pair compared.

    The settings are those of params.yaml. Interrupted, the same command continues;
    registry, champion and the pipeline's artifacts are not touched.
    """
    import dataclasses

    from recctl import lock
    from recctl.layout import Layout
    from recctl.leaderboard import leaderboard as work
    from recctl.models import MODELS
    from recctl.render.console import Console
    from recctl.training.params import TrainParams

    layout = Layout.find()
    params = TrainParams.load(layout.params, dict(map(_chosen, setting or [])))
    chosen = _numbers(seeds) if seeds else [params.seed]
    with lock.stage(layout, "leaderboard"):
        board = work(layout, models or list(MODELS), chosen, params, _say)
    if as_json:
        echo_json(dataclasses.asdict(board))
        return
    console = Console()
    models_table(board).print(console)
    for line in sources(board):
        console.print(line)
    if board.pairs:
        pairs_table(board).print(console)
    for line in advice(board):
        console.print(line, soft_wrap=True)


def _say(line: str) -> None:
    echo(f"leaderboard: {line}", err=True)


def _chosen(text: str) -> tuple[str, object]:
    from recctl.cli.setting import setting
    from recctl.errors import UserError

    path, value = setting(text if text.startswith("train.") else f"train.{text}")
    path = path.removeprefix("train.")
    if path in ("model", "seed"):
        raise UserError(f"'{path}' is no setting of all models", "name models, and give --seeds")
    return path, value


def _numbers(text: str) -> list[int]:
    from recctl.errors import UserError

    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= one <= limits.SEED for one in found):
        raise UserError(f"'{text:.40}' is no list of seeds", "write it like 1,2,3")
    if len(found) > limits.SEEDS:
        what = f"{len(found):,} seeds are more than {limits.SEEDS}"
        raise UserError(what, "give fewer: every model is trained with each")
    return found


def models_table(board: "Board") -> "Grid":
    """A row per model, best first."""
    from recctl.render.grid import Grid, left, right

    title = f"{board.users:,} test users, {board.catalogue:,} items; full ranking"
    columns = [*left("model"), *right("HR@10", "NDCG@10", "95% interval", "over seeds", whole=True)]
    for name, ours in _protocols(board):
        columns += right(f"{name if ours else 'published'}\nHR@10 / NDCG@10")
    grid = Grid(title, [*columns, *right("epochs", "time")])
    for row in board.rows:
        grid.add(row.model, *_cells(row, board))
    return grid


def sources(board: "Board") -> list[str]:
    """Where the published figures come from, a line for each source."""
    by_source: dict[str, list[str]] = {}
    for row in board.rows:
        for protocol, one in row.published.items():
            by_source.setdefault(one.source, []).append(f"{row.model} ({protocol})")
    return [f"published: {', '.join(what)}: {source}" for source, what in by_source.items()]


def advice(board: "Board") -> list[str]:
    """A line for each trained model that is not proven better than a simple one."""
    from recctl.render.numbers import change

    lines = []
    for one in board.unproven:
        less = one.difference
        by = change(less.value, less.low, less.high)
        lines.append(
            f"warning: {one.model} is not proven better than {one.simple} (NDCG@10 {by}): "
            f"use {one.instead}"
        )
    return lines


def _cells(row: "Row", board: "Board") -> list[str]:
    from recctl.evaluation.params import FULL
    from recctl.render.numbers import figure, span

    full, trained = row.figures[FULL], row.trainings
    ndcg = full["ndcg@10"]
    epochs = sum(one.epochs for one in trained) / len(trained)
    cap = " (cap)" if any(one.capped for one in trained) else ""
    return [
        figure(full["hr@10"].value),
        figure(ndcg.value),
        span(ndcg.low, ndcg.high),
        "-" if row.spread is None else f"± {figure(row.spread)}",
        *(_pair(row, name, ours) for name, ours in _protocols(board)),
        f"{epochs:.0f}{cap}" if epochs else "-",
        _time(sum(one.seconds for one in trained) / len(trained)) if epochs else "-",
    ]


def _protocols(board: "Board") -> "Iterator[tuple[str, bool]]":
    """The columns of HR@10 / NDCG@10: a protocol, and whether they are ours or published ones.

    Our full ranking has separate columns; a column of published figures is shown where some exist.
    """
    from recctl.evaluation.params import FULL

    for name in board.rows[0].figures:
        if name != FULL:
            yield name, True
        if any(name in row.published for row in board.rows):
            yield name, False


def _pair(row: "Row", protocol: str, ours: bool) -> str:
    from recctl.render.numbers import figure

    if ours:
        one = row.figures[protocol]
        return f"{figure(one['hr@10'].value)} / {figure(one['ndcg@10'].value)}"
    known = row.published.get(protocol)
    return f"{figure(known.hr)} / {figure(known.ndcg)}" if known else ""


def pairs_table(board: "Board") -> "Grid":
    """Each model against each one below it."""
    from recctl.render.grid import Grid, left, right
    from recctl.render.numbers import signed

    names = [row.model for row in board.rows]
    found = {(pair.model, pair.other): pair for pair in board.pairs}
    title = "NDCG@10, row less column, user by user (* p <= 5%, Holm)"
    grid = Grid(title, [*left(""), *right(*names[1:], whole=True)])
    for place, name in enumerate(names[:-1]):
        pairs = [found[name, other] for other in names[place + 1 :]]
        cells = [f"{signed(one.difference.value)}{'*' if one.p <= ALPHA else ' '}" for one in pairs]
        grid.add(name, *[""] * place, *cells)
    return grid


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
