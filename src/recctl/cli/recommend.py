"""`recctl recommend`: what to show a user, or whoever has a given history."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl import limits
from recctl.render.text import echo_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recctl.layout import Layout
    from recctl.recommend import Recommendation, Served
    from recctl.render.console import Console, Table

_SHOWN = 10


def recommend(
    user: Annotated[
        list[str] | None,
        typer.Option("--user", help="A user of the data, by external id. May be given repeatedly."),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option("--history", help="Item ids, oldest first: a,b,c. May be given repeatedly."),
    ] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, max=limits.SERVED_K, help="How many items to recommend.")
    ] = 10,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="A model folder; without it the project's artifacts/model."),
    ] = None,
    filter_seen: Annotated[
        bool | None,
        typer.Option(
            "--filter-seen/--no-filter-seen",
            help="Leave out items of the history; without it as params.yaml evaluates.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON: an object, or a list where --user is repeated."),
    ] = False,
) -> None:
    """Recommend the next items for a user, a history, or (given neither) a newcomer."""
    from recctl.errors import UserError
    from recctl.recommend import Served, UserHistory, user_histories

    if user and history is not None:
        raise UserError("--user and --history are both given", "give one of them")
    project = _project(needed=bool(user) or model is None)
    if filter_seen is None:
        filter_seen = _filter_seen(project)
    served = Served.load(_folder(model, project))
    served.check(filter_seen=filter_seen)
    asked: list[tuple[str | None, UserHistory]] = [(None, UserHistory(_split(history or []), 0))]
    if user and project is not None:
        asked = [*user_histories(project.sequences, user).items()]
    answers = []
    for user_id, found in asked:
        known, dropped = served.known(found.item_ids)
        chosen = served.recommend(known, k, filter_seen=filter_seen)
        if not as_json:
            whom = f"for user {user_id}" if user_id is not None else "after this history"
            whom = whom if user_id is not None or known else "for a newcomer"
            _print(served, whom, known, dropped, found.cold, chosen)
        answers.append(
            {
                "user_id": user_id,
                "filter_seen": filter_seen,
                "history": [_item(served, item) for item in known],
                "dropped": dropped,
                "cold": found.cold,
                "recommendations": [
                    {"rank": one.rank, **_item(served, one.item_id), "score": one.score}
                    for one in chosen
                ],
            }
        )
    if as_json:
        echo_json(answers if len(user or []) > 1 else answers[0])


def _project(needed: bool) -> "Layout | None":
    from recctl.errors import UserError
    from recctl.layout import Layout

    try:
        return Layout.find()
    except UserError:
        if needed:
            raise
        return None


def _folder(model: Path | None, project: "Layout | None") -> Path:
    if model is not None:
        return model
    assert project is not None
    return project.model


def _filter_seen(project: "Layout | None") -> bool:
    from recctl.evaluation.params import EvaluateParams

    return EvaluateParams.load(project.params).filter_seen if project else True


def _split(history: list[str]) -> list[str]:
    parts = (part.strip() for one in history for part in one.split(","))
    return [part for part in parts if part]


def _item(served: "Served", item_id: str) -> dict[str, Any]:
    return {"item_id": item_id, "title": served.vocabulary.titles.get(item_id)}


def _print(
    served: "Served",
    whom: str,
    known: list[str],
    dropped: list[str],
    cold: int,
    chosen: "list[Recommendation]",
) -> None:
    from recctl.render.console import Console

    console = Console()
    if known:
        shown = list(enumerate(known, start=1))[-_SHOWN:]
        title = f"History, last {len(shown)} of {len(known)}"
        console.print(title, style="bold")
        console.print(_table(console, served, [(number, item, None) for number, item in shown]))
    if dropped:
        names = ", ".join(dropped)
        console.print(f"Dropped from the history, for the model does not know them: {names}")
    if cold:
        console.print(
            f"Dropped from the history: {cold} interactions with items new since training"
        )
    rows = [(one.rank, one.item_id, one.score) for one in chosen]
    if not rows:
        console.print("Nothing is left to recommend: the history holds the whole catalogue")
        return
    console.print(f"Recommended {whom}", style="bold")
    console.print(_table(console, served, rows))


def _table(
    console: "Console", served: "Served", rows: "Sequence[tuple[int, str, float | None]]"
) -> "Table":
    from recctl.render.console import SIMPLE_HEAD, Table

    titles = served.vocabulary.titles
    scored = any(score is not None for _, _, score in rows)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("#", justify="right")
    table.add_column("item", no_wrap=True)
    if titles:
        table.add_column("title")
    if scored:
        table.add_column("score", justify="right")
    for number, item, score in rows:
        cells = [item, *([titles.get(item, "")] if titles else [])]
        figures = [f"{score:.3f}"] if scored else []
        table.add_row(str(number), *map(console.cell, cells), *figures)
    return table
