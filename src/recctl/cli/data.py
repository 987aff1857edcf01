"""`recctl data`: the known data sets, the one that the project uses, and its content."""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.render.text import echo, echo_json

if TYPE_CHECKING:
    from recctl.data.describe import Description
    from recctl.datasets.download import Progress
    from recctl.datasets.install import Used
    from recctl.datasets.own_log import OwnLog

app = typer.Typer(
    help="Choose the data: known sets, or a log of your own.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(name="list")
def list_(json: Json = False) -> None:
    """Show the known data sets."""
    from dataclasses import asdict

    from recctl.datasets.catalogue import KNOWN
    from recctl.render.console import Console
    from recctl.render.grid import Grid, left, right

    if json:
        echo_json([asdict(known) for known in KNOWN.values()])
        return
    figures = right("interactions", whole=True)
    grid = Grid("", [*left("name"), *figures, *left("original", "licence")])
    for known in KNOWN.values():
        grid.add(known.name, f"{known.interactions:,}", known.format, known.licence)
    grid.print(Console())
    echo()
    echo("use one with: recctl data use NAME (addresses: recctl data list --json)")


def _option(help: str, *names: str, metavar: str | None = None, kind: Any = str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help, metavar=metavar)]


_LOG_OPTIONS = {
    "name": _option("A name for your own log."),
    "format": _option(
        "csv, tsv, parquet, jsonl, or sequences ('user item' lines in time order); inferred from "
        "the content if omitted, as are all options below.",
        metavar="FORMAT",
    ),
    "delimiter": _option("The separator of the fields of a csv, such as ';'."),
    "columns": _option(
        "The columns of a csv or tsv without header, in order, separated by commas: user, item, "
        "time, weight, title, or any names.",
        metavar="NAMES",
    ),
    "user_column": _option("The column of users (user_id)."),
    "item_column": _option("The column of items (item_id)."),
    "time_column": _option("The column of times (timestamp)."),
    "weight_column": _option("The column of ratings, counts or quantities, if the log has one."),
    "title_column": _option("The column of the items' titles, if the log has one."),
    "time_unit": _option("Unit of numeric times since 1970: s, ms, us, ns; or iso."),
    "time_format": _option(
        "The format of times, as in DuckDB's strptime: '%d/%m/%Y %H:%M'.", metavar="FORMAT"
    ),
    "encoding": _option("The encoding of the text, such as latin-1, cp1252, utf-16-le."),
    "decimal": _option("The decimal sign of the weights: '.' or ','."),
    "minimum_weight": _option(
        "Leave out rows of a lower weight, such as returns.",
        "--min-weight",
        "--minimum-weight",
        metavar="NUMBER",
    ),
    "anonymous": _option(
        "Rows without a user: quarantine (they count as bad), or drop (left out on purpose)."
    ),
    "items": _option("A csv with the columns item_id and title.", kind=Path),
}
"""The options that describe a log of the user's own, by the field of `OwnLog`."""


def _of_a_log(command: Any) -> Any:
    """The command with these options, passed to it as `log`."""
    plain = inspect.signature(command)
    others = [given for name, given in plain.parameters.items() if name != "log"]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _LOG_OPTIONS.items()
    ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        values = {name: given.pop(name) for name in _LOG_OPTIONS}
        command(**given, log=_own_log(values))

    keyword = [given.replace(kind=inspect.Parameter.KEYWORD_ONLY) for given in others]
    signature = plain.replace(parameters=[*keyword[:-1], *options, keyword[-1]])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: given.annotation for name, given in signature.parameters.items()}
    return run


def _own_log(values: dict[str, Any]) -> "OwnLog":
    """The options' values as typed ones; UserError where one does not fit."""
    from typing import get_args

    from recctl.data import params
    from recctl.datasets.own_log import OwnLog
    from recctl.errors import UserError, unknown_name

    names: dict[str, Any] = {
        "format": params.Format,
        "time_unit": params.TimeUnit,
        "decimal": params.Decimal,
        "anonymous": params.Anonymous,
    }
    for field, kind in names.items():
        if values[field] is not None and values[field] not in get_args(kind):
            raise unknown_name(field.replace("_", " "), values[field], list(get_args(kind)))
    if values["columns"] is not None:
        values["columns"] = [column.strip() for column in values["columns"].split(",")]
    if values["delimiter"] == "\\t":
        values["delimiter"] = "\t"
    if (weight := values["minimum_weight"]) is not None:
        try:
            values["minimum_weight"] = float(weight)
        except ValueError:
            raise UserError(
                f"--min-weight '{weight}' is not a number", "write it with a point, such as 0.5"
            ) from None
    return OwnLog(**values)


@app.command()
@_of_a_log
def use(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME | FILE...",
            help="A known set, or files of a log: paths, or addresses such as s3://bucket/log.csv "
            "or a folder there.",
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Where a known set is: its archive, its unpacked folder, the benchmark's "
            "'user item' text; a path or another address.",
        ),
    ] = None,
    *,
    log: "OwnLog",
    json: Json = False,
) -> None:
    """Fill data/ with a known set or a log of your own, and update params.yaml and DVC.

    Shows how a log of your own is read before it changes anything, and replaces no data that DVC
    does not hold.
    """
    from recctl import lock
    from recctl.datasets import addresses
    from recctl.datasets import use as core
    from recctl.datasets.catalogue import KNOWN
    from recctl.datasets.own_log import OwnLog
    from recctl.errors import UserError
    from recctl.layout import Layout

    layout = Layout.find()
    with _progress() as (progress, say), lock.held(layout, "recctl data use", say=say):
        if len(what) == 1 and what[0] in KNOWN:
            if log != OwnLog():
                raise UserError(
                    f"'{what[0]}' is a known set, whose format is known",
                    f"omit the other options, or write ./{what[0]} for a file of that name",
                )
            used = core.use_known(layout, KNOWN[what[0]], source, progress, say)
        elif source is not None:
            raise UserError("--from needs the name of one known set", "see: recctl data list")
        else:
            with addresses.at_hand(layout, what, progress, say) as paths:
                used = core.use_files(layout, paths, log, say)
        addresses.clear(layout)
    _show_used(used, json)


@app.command()
@_of_a_log
def preview(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="The files of a log: paths or addresses.")
    ],
    *,
    log: "OwnLog",
    json: Json = False,
) -> None:
    """Show how a log of your own would be read, and how many rows would be good or bad.

    All rows are read as ingest reads them; nothing is changed.
    """
    from recctl.datasets import addresses
    from recctl.datasets import use as core
    from recctl.datasets.preview import as_lines
    from recctl.layout import Layout

    layout = Layout.find()
    with _progress() as (progress, say), addresses.at_hand(layout, files, progress, say) as paths:
        result = core.preview(layout, paths, log, say)
    if json:
        echo_json(result.as_dict())
        return
    for line in as_lines(result):
        echo(line)
    _show_rows(result.examples)


@app.command()
def describe(json: Json = False) -> None:
    """Count the users, items and rows in data/."""
    from dataclasses import asdict

    from recctl.data.describe import describe
    from recctl.layout import Layout

    description = describe(Layout.find())
    if json:
        echo_json(asdict(description))
    else:
        _show_description(description)


@contextmanager
def _progress() -> Iterator[tuple["Progress", Any]]:
    """A bar on a terminal, else a line per tenth; on stderr, since stdout is for results."""
    from recctl.render.console import Console

    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    if not console.is_terminal:
        yield _lines(say), say
        return
    from rich import progress as bars

    columns = (
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("download", total=None, visible=False)

        def show(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total, visible=True)

        yield show, say


def _lines(say: Any) -> "Progress":
    """Say the progress of a download at each tenth, or each 50 MB if its size is unknown."""
    last = -1

    def show(done: int, total: int | None) -> None:
        nonlocal last
        step = done * 10 // total if total else done // 50_000_000
        if step != last:
            last = step
            say(f"{_size(done)} of {_size(total)}" if total else _size(done))

    return show


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


def _show_used(used: "Used", json: bool) -> None:
    from dataclasses import asdict

    if json:
        echo_json({**asdict(used), "ingest": used.ingest.model_dump()})
        return
    files = ", ".join(f"{name} ({_size(count)})" for name, count in used.files.items())
    echo(f"data/ holds {used.ingest.name}: {files}; data.dvc has its digest")
    for reason in used.reasons:
        echo(f"settings: {reason}")
    for change in used.changes:
        echo(f"params.yaml: {change.setting}: {change.before} -> {change.after}")
    for change in used.kept:
        suits = f"{change.after} suits this log"
        echo(f"params.yaml: {change.setting}: {change.before}, set by hand, is kept; {suits}")
    if used.repeats.many:
        echo(f"evaluate.filter_seen is false, to hide no targets: {used.repeats.sentence}")
    if used.before is not None:
        echo(f"to restore the former data: cp {used.before}/* . && dvc checkout data.dvc")
    echo("next: dvc repro")


def _show_description(description: "Description") -> None:
    facts = {
        "name": description.name,
        "format": description.format,
        "version": description.version or "none (no data.dvc)",
        "files": ", ".join(f"{name} ({_size(n)})" for name, n in description.files.items()),
        "rows": f"{description.rows:,} ({description.bad_rows:,} in quarantine)",
        "users": f"{description.users:,}",
        "items": f"{description.items:,}",
        "repeats": f"{description.repeats:,} (the user had the item before); at another time "
        f"{description.repeat_share:.1%} of the interactions",
        "hidden": f"{description.hidden_target_share:.1%} of the users' last items: the seen "
        "filter would hide them as targets",
        "times": f"{description.first} to {description.last}"
        if description.first
        else "none: the order of lines is the time",
        "needs": f"about {description.needs}, from ingest to sequence-split",
    }
    if description.advice:
        facts["hidden"] += f"; {description.advice}"
    for key, fact in facts.items():
        echo(f"{key:<8} {fact}")
    if description.first_rows:
        _show_rows(description.first_rows)


def _show_rows(rows: list[dict[str, Any]]) -> None:
    from recctl.render.console import Console
    from recctl.render.grid import Grid, left

    echo()
    grid = Grid("", left(*rows[0], cut=True))
    for row in rows:
        grid.add(*("" if value is None else str(value) for value in row.values()))
    grid.print(Console())
