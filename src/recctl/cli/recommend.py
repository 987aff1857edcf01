"""`recctl recommend`: items for a user or a given history; `recctl similar`: items like one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from recctl import limits
from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from recctl.layout import Layout
    from recctl.recommend import Recommendation, Served
    from recctl.render.grid import Column, Grid

_SHOWN = 10

_K = Annotated[int, typer.Option("-k", min=1, max=limits.SERVED_K, help="How many items to list.")]
_Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="A model folder, a version's number or alias; without it artifacts/model."
    ),
]


def recommend(
    user: Annotated[
        list[str] | None,
        typer.Option("--user", help="A user of the data, by external id. May be given repeatedly."),
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option("--history", help="Item ids, oldest first: a,b,c. May be given repeatedly."),
    ] = None,
    k: _K = 10,
    model: _Model = None,
    everyone: Annotated[
        bool, typer.Option("--all", help="Every user of the data; needs --out.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The Parquet file that --all writes.")] = None,
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
    """Recommend the next items for a user, a history, or (given neither) a newcomer.

    With --all it writes a list for every user: `user_id`, `item_ids` and `scores`. Called again
    after it was killed, it continues.
    """
    from recctl.errors import UserError
    from recctl.recommend import UserHistory, user_histories

    if user and history is not None:
        raise UserError("--user and --history are both given", "give one of them")
    if everyone != (out is not None) or (everyone and (user or history is not None or as_json)):
        raise UserError("--all and --out belong together, without --user, --history or --json")
    project = _project(needed=bool(user) or everyone or model is None)
    if filter_seen is None:
        filter_seen = _filter_seen(project)
    if everyone and out is not None:
        _everyone(cast("Layout", project), model, out, k, filter_seen)
        return
    served = _served(project, model)
    served.check(filter_seen=filter_seen)
    histories: list[tuple[str | None, UserHistory]] = [(None, UserHistory(_split(history or [])))]
    if user and project is not None:
        histories = [*user_histories(project.sequences, user).items()]
    answers = []
    for user_id, events in histories:
        known, dropped = served.known(events.item_ids)
        best = served.recommend(known, k, filter_seen=filter_seen)
        if not as_json:
            _print(served, _title(user_id, known), known, dropped, best)
        answers.append(
            {
                "user_id": user_id,
                "filter_seen": filter_seen,
                "history": [_item(served, item) for item in known],
                "dropped": dropped,
                "recommendations": _items(served, best),
            }
        )
    if as_json:
        echo_json(answers if len(user or []) > 1 else answers[0])


def similar(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="An item's id.")],
    k: _K = 10,
    model: _Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the items nearest to an item, as the model says.

    Score: the cosine of the items' vectors (networks, item-knn), or the share of those that came
    directly after the item in training (markov).
    """
    served = _served(_project(needed=model is None), model)
    nearest = served.similar(item, k)
    if as_json:
        echo_json({**_item(served, item), "similar": _items(served, nearest)})
    elif nearest:
        title = served.vocabulary.titles.get(item)
        _print_list(served, f"Similar to {item}{f', {title}' if title else ''}", nearest)
    else:
        echo("The model knows no item that is similar")


def _served(project: "Layout | None", model: str | None) -> "Served":
    from recctl.recommend import Served

    if project is None:
        return Served.load(Path(model or ""))
    if model is None:
        return Served.load(project.model)
    from recctl.promotion.compare import served

    return served(project, model)[1]


def _everyone(layout: "Layout", model: str | None, out: Path, k: int, filter_seen: bool) -> None:
    from recctl import lists
    from recctl.promotion.compare import served as named
    from recctl.promotion.history import WORKSPACE
    from recctl.promotion.trial.package import content_digest
    from recctl.sequences.store import SequenceData

    _, served, folder = named(layout, model or WORKSPACE)
    data = SequenceData.load(layout.sequences)
    basis = {"model": content_digest(folder)}
    users = lists.write(served, data, out, k=k, filter_seen=filter_seen, basis=basis, say=echo)
    echo(f"{out}: lists of {users:,} users")


def _title(user_id: str | None, known: list[str]) -> str:
    if user_id is not None:
        return f"Recommended for user {user_id}"
    return "Recommended after this history" if known else "Recommended for a newcomer"


def _project(needed: bool) -> "Layout | None":
    from recctl.errors import UserError
    from recctl.layout import Layout

    try:
        return Layout.find()
    except UserError:
        if needed:
            raise
        return None


def _filter_seen(project: "Layout | None") -> bool:
    from recctl.evaluation.params import EvaluateParams

    return EvaluateParams.load(project.params).filter_seen if project else True


def _split(history: list[str]) -> list[str]:
    items = ",".join(history).split(",")
    return [item.strip() for item in items if item.strip()]


def _item(served: "Served", item_id: str) -> dict[str, Any]:
    return {"item_id": item_id, "title": served.vocabulary.titles.get(item_id)}


def _items(served: "Served", best: "list[Recommendation]") -> list[dict[str, Any]]:
    return [{"rank": one.rank, **_item(served, one.item_id), "score": one.score} for one in best]


def _print(
    served: "Served",
    title: str,
    known: list[str],
    dropped: list[str],
    best: "list[Recommendation]",
) -> None:
    from recctl.render.console import Console

    console = Console()
    if known:
        shown = list(enumerate(known, start=1))[-_SHOWN:]
        history = _grid(f"History, last {len(shown)} of {len(known)}", served)
        for number, item in shown:
            history.add(*_cells(served, number, item))
        history.print(console)
    if dropped:
        names = ", ".join(dropped)
        console.print(f"Dropped from the history, because the model does not know them: {names}")
    if not best:
        console.print("Nothing is left to recommend: the history holds the whole catalogue")
        return
    _print_list(served, title, best)


def _print_list(served: "Served", title: str, best: "list[Recommendation]") -> None:
    from recctl.render.console import Console
    from recctl.render.grid import Column

    grid = _grid(title, served, Column("score", right=True))
    for chosen in best:
        grid.add(*_cells(served, chosen.rank, chosen.item_id), f"{chosen.score:.3f}")
    grid.print(Console())


def _grid(title: str, served: "Served", *more: "Column") -> "Grid":
    from recctl.render.grid import Column, Grid, left, right

    titles = left("title", cut=True) if served.vocabulary.titles else []
    item = Column("item", whole=True, cut=True)
    return Grid(title, [*right("#"), item, *titles, *more])


def _cells(served: "Served", number: int, item: str) -> list[str]:
    titles = served.vocabulary.titles
    return [str(number), item, *([titles.get(item, "")] if titles else [])]
