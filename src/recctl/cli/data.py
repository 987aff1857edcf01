"""`recctl data`: which data sets there are, which one the project uses, what is in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.text import echo, echo_json

if TYPE_CHECKING:
    from recctl.data.describe import Description
    from recctl.data.download import Progress
    from recctl.data.install import Used

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

    from recctl.console import Console
    from recctl.data.catalogue import KNOWN

    if json:
        echo_json([asdict(known) for known in KNOWN.values()])
        return
    table = _table("name", "interactions", "max length", "mask", "original", "licence")
    for known in KNOWN.values():
        train = known.settings["train"]
        table.add_row(
            known.name,
            f"{known.interactions:,}",
            str(train["bert4rec.max_length"]),
            str(train["bert4rec.mask_probability"]),
            known.format,
            known.licence,
        )
    Console().print(table)
    echo()
    echo("use one with: recctl data use NAME (addresses: recctl data list --json)")


@app.command()
def use(
    what: Annotated[
        list[str], typer.Argument(metavar="NAME | FILE...", help="A known set, or files of a log.")
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="Where a known set lies: its archive, its unpacked folder, the benchmark's "
            "'user item' text, or another http address.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name for your own log.")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv, tsv, parquet, jsonl, or sequences ('user item' lines in time order). "
            "Told from the content when left out.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="Between the fields of a csv, if not a comma.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Names of the columns, with commas, for a csv or tsv without header."),
    ] = None,
    user_column: Annotated[str, typer.Option(help="The column of users.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="The column of items.")] = "item_id",
    time_column: Annotated[str, typer.Option(help="The column of times.")] = "timestamp",
    weight_column: Annotated[
        str | None, typer.Option(help="The column of ratings or counts, if there is one.")
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(help="s, ms, us, ns or iso; told from the first rows when left out."),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="A csv with the columns item_id and title.")
    ] = None,
    json: Json = False,
) -> None:
    """Fill data/ with a known set or a log of your own, and let params.yaml and DVC know.

    Nothing is replaced that DVC does not hold.
    """
    from recctl import lock
    from recctl.data import use as core
    from recctl.data.catalogue import KNOWN
    from recctl.errors import UserError
    from recctl.layout import Layout

    layout = Layout.find()
    log = core.OwnLog(
        name=name,
        format=_one_of(form, "format"),
        delimiter=_unescaped(delimiter),
        columns=[column.strip() for column in columns.split(",")] if columns else None,
        user_column=user_column,
        item_column=item_column,
        time_column=time_column,
        weight_column=weight_column,
        time_unit=_one_of(time_unit, "time_unit"),
        items=items,
    )
    with _progress() as (progress, say), lock.held(layout, "recctl data use", say=say):
        if len(what) == 1 and what[0] in KNOWN:
            if log != core.OwnLog():
                raise UserError(
                    f"'{what[0]}' is a known set, whose form is known",
                    f"leave the other options out, or write ./{what[0]} for a file of that name",
                )
            used = core.use_known(layout, KNOWN[what[0]], source, progress, say)
        elif source is not None:
            raise UserError("--from goes with the name of one known set", "see: recctl data list")
        else:
            used = core.use_files(layout, [Path(file) for file in what], log, say)
    _show_used(used, json)


@app.command()
def describe(json: Json = False) -> None:
    """Count what data/ holds now."""
    from dataclasses import asdict

    from recctl.data.describe import describe
    from recctl.layout import Layout

    description = describe(Layout.find())
    if json:
        echo_json(asdict(description))
    else:
        _show_description(description)


def _one_of(value: str | None, field: str) -> Any:
    """The value, if it is one that the field of the ingest section may have."""
    from typing import get_args

    from recctl.data.params import Format, TimeUnit
    from recctl.errors import unknown_name

    known = list(get_args({"format": Format, "time_unit": TimeUnit}[field]))
    if value is not None and value not in known:
        raise unknown_name(field.replace("_", " "), value, known)
    return value


def _unescaped(delimiter: str | None) -> str | None:
    return "\t" if delimiter == "\\t" else delimiter


def _table(*columns: str) -> Any:
    from recctl.console import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        number = column in ("interactions", "max length", "mask")
        table.add_column(column, justify="right" if number else "left", no_wrap=number)
    return table


@contextmanager
def _progress() -> Iterator[tuple["Progress", Any]]:
    """A bar on a terminal and a line per tenth elsewhere; both on stderr, stdout is for results."""
    from recctl.console import Console

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
    """Say how far a download is at each tenth of it, or each 50 MB where its size is unknown."""
    last = -1

    def show(done: int, total: int | None) -> None:
        nonlocal last
        step = done * 10 // total if total else done // 50_000_000
        if step != last:
            last = step
            say(f"{_size(done)} of {_size(total)}" if total else _size(done))

    return show


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:,.3g} GB"


def _show_used(used: "Used", json: bool) -> None:
    from dataclasses import asdict

    if json:
        echo_json({**asdict(used), "ingest": used.ingest.model_dump()})
        return
    files = ", ".join(f"{name} ({_size(count)})" for name, count in used.files.items())
    echo(f"data/ holds {used.ingest.name}: {files}; data.dvc has its digest")
    for change in used.changes:
        echo(f"params.yaml: {change.setting}: {change.before} -> {change.after}")
    for one in used.kept:
        echo(f"params.yaml: {one.setting}: {one.before} is kept, for it was changed by hand")
    if used.repeats.many:
        echo(f"evaluate.filter_seen is false, or targets would be hidden: {used.repeats.sentence}")
    if used.before is not None:
        echo(f"back to the data before: cp {used.before}/* . && dvc checkout data.dvc")
    echo("next: dvc repro")


def _show_description(description: "Description") -> None:
    facts = {
        "name": description.name,
        "format": description.format,
        "version": description.version or "none (no data.dvc)",
        "files": ", ".join(f"{name} ({_size(n)})" for name, n in description.files.items()),
        "rows": f"{description.rows:,} ({description.bad_rows:,} bad)",
        "users": f"{description.users:,}",
        "items": f"{description.items:,}",
        "repeats": f"{description.repeats:,} (the user had the item before), at another time "
        f"{description.repeat_share:.1%} of the interactions",
        "hidden": f"{description.hidden_target_share:.1%} of the users' last items: the seen "
        "filter would hide them as targets",
        "times": f"{description.first} to {description.last}"
        if description.first
        else "none: the order of lines is the time",
    }
    for key, fact in facts.items():
        echo(f"{key:<8} {fact}")
    if not description.first_rows:
        return
    from recctl.console import Console

    echo()
    console = Console()
    table = _table(*description.first_rows[0])
    for row in description.first_rows:
        table.add_row(*(console.cell(str(field)) for field in row.values()))
    console.print(table)
